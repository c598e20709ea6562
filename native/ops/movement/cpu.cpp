// What moves how follows from the last axis after merging: rows that are contiguous in both arrays
// ([B, T, H, d] <-> [B, H, T, d] is rows of d), tiles of a transposition (both arrays then use
// whole cache lines), or single elements. Elements go by their size, not by their dtype.
#include "ops/movement/op.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "ops/movement/plan.h"

namespace surprisal::movement {
namespace {

constexpr int64_t kGrain = 1 << 14;  // elements a thread should get at least
constexpr int64_t kTile = 32;

template <class T>
void copy_rows(const T* a, T* out, const Moved& axes) {
  const Axis<2> row = axes.axis[axes.rank - 1];
  const int outer = axes.rank - 1;
  if (outer == 0) {
    parallel_for(row.n, kGrain, [&](int64_t begin, int64_t end) {
      std::memcpy(out + begin, a + begin, (end - begin) * sizeof(T));
    });
    return;
  }
  parallel_for(axes.count(outer), kGrain / row.n, [&](int64_t begin, int64_t end) {
    axes.walk(outer, begin, end, [&](const int64_t(&at)[2]) {
      if (row.n * sizeof(T) >= 32) {
        std::memcpy(out + at[1], a + at[0], row.n * sizeof(T));
      } else {
        for (int64_t i = 0; i < row.n; ++i) out[at[1] + i] = a[at[0] + i];
      }
    });
  });
}

template <class T>
void copy_elements(const T* a, T* out, const Moved& axes) {
  const Axis<2> row = axes.axis[axes.rank - 1];
  const int outer = axes.rank - 1;
  // A single long axis is cut into pieces, many axes go row by row.
  if (outer == 0) {
    parallel_for(row.n, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out[i * row.stride[1]] = a[i * row.stride[0]];
    });
    return;
  }
  parallel_for(axes.count(outer), kGrain / row.n, [&](int64_t begin, int64_t end) {
    axes.walk(outer, begin, end, [&](const int64_t(&at)[2]) {
      for (int64_t i = 0; i < row.n; ++i)
        out[at[1] + i * row.stride[1]] = a[at[0] + i * row.stride[0]];
    });
  });
}

// Axis `axes.axis[across]` is contiguous in a, the last axis in out.
template <class T>
void transpose_tiles(const T* a, T* out, const Moved& axes, int across) {
  const Axis<2> column = axes.axis[across], row = axes.axis[axes.rank - 1];
  Moved outer;
  for (int i = 0; i < axes.rank - 1; ++i)
    if (i != across) outer.axis[outer.rank++] = axes.axis[i];
  const int64_t strips = (column.n + kTile - 1) / kTile;
  outer.axis[outer.rank++] = {strips, {kTile, kTile * column.stride[1]}};
  const int64_t grain = kGrain / (kTile * row.n);
  parallel_for(outer.count(outer.rank), grain, [&](int64_t begin, int64_t end) {
    int64_t strip = begin % strips;
    outer.walk(outer.rank, begin, end, [&](const int64_t(&at)[2]) {
      const int64_t high = std::min(kTile, column.n - strip * kTile);
      strip = strip + 1 == strips ? 0 : strip + 1;
      for (int64_t j = 0; j < row.n; j += kTile) {
        const int64_t wide = std::min(kTile, row.n - j);
        const T* source = a + at[0] + j * row.stride[0];
        for (int64_t c = 0; c < high; ++c) {
          T* target = out + at[1] + c * column.stride[1] + j;
          for (int64_t r = 0; r < wide; ++r) target[r] = source[r * row.stride[0] + c];
        }
      }
    });
  });
}

template <class T>
void copy_as(const StridedCopy& op) {
  const T* a = static_cast<const T*>(op.a.data) + op.a_offset;
  T* out = static_cast<T*>(op.out.data) + op.out_offset;
  const Moved axes = merged(op.shape, op.a_strides, op.out_strides);
  const Axis<2> row = axes.axis[axes.rank - 1];
  if (row.stride[0] == 1 && row.stride[1] == 1) return copy_rows(a, out, axes);
  if (row.stride[1] == 1 && row.n >= 4) {
    for (int i = axes.rank - 2; i >= 0; --i)
      if (axes.axis[i].stride[0] == 1 && axes.axis[i].n >= 4)
        return transpose_tiles(a, out, axes, i);
  }
  copy_elements(a, out, axes);
}

template <class T>
void triangle_as(const Triangle& op) {
  const T* a = static_cast<const T*>(op.a.data);
  T* out = static_cast<T*>(op.out.data);
  const int64_t cols = op.cols;
  parallel_for(op.a.size / cols, kGrain / cols, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      // Lower keeps columns [0, cut), upper [cut, cols).
      const int64_t cut = std::clamp<int64_t>(r % op.rows + op.diagonal + op.lower, 0, cols);
      const int64_t keep = op.lower ? 0 : cut, clear = op.lower ? cut : 0;
      const int64_t kept = op.lower ? cut : cols - cut;
      std::memcpy(out + r * cols + keep, a + r * cols + keep, kept * sizeof(T));
      std::memset(out + r * cols + clear, 0, (cols - kept) * sizeof(T));
    }
  });
}

}  // namespace

void strided_copy_cpu(const StridedCopy& op) {
  if (op.shape.count() == 0) return;
  check(op);
  visit_width(op.a.dtype, [&](auto tag) { copy_as<typename decltype(tag)::type>(op); });
}

void triangle_cpu(const Triangle& op) {
  if (op.a.size == 0) return;
  check(op);
  visit_width(op.a.dtype, [&](auto tag) { triangle_as<typename decltype(tag)::type>(op); });
}

void fill_cpu(const Fill& op) {
  visit_any(op.out.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T value = element_of<T>(op.value);
    T* p = op.out.as<T>();
    parallel_for(op.out.size, kGrain,
                 [&](int64_t begin, int64_t end) { std::fill(p + begin, p + end, value); });
  });
}

}  // namespace surprisal::movement
