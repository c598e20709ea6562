#include "ops/indexing/lines.h"

#include <atomic>

#define SURPRISAL_BODY "ops/indexing/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::indexing {
namespace {

constexpr int64_t kGrain = 1 << 14;

// Throws for the first index outside [0, limit).
void check_index(const View& index, int64_t limit, Caller caller) {
  visit_index(index.dtype, [&](auto tag) {
    const auto* p = index.as<typename decltype(tag)::type>();
    std::atomic<int64_t> first{index.size};
    parallel_for(index.size, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        if (p[i] >= 0 && p[i] < limit) continue;
        int64_t known = first.load();
        while (i < known && !first.compare_exchange_weak(known, i)) {
        }
        return;
      }
    });
    if (first == index.size) return;
    throw index_error(caller, limit, p[first], first);
  });
}

// The loops of Gather and ScatterAdd: for positions p of the index array and the element of a line
// that each refers to, f(p, line, column) in order of j within a line. Lines that share all but
// their last coordinate are walked together, in chunks that threads take.
struct Lines {
  Axes<2> outer;      // every axis but dim and the last: strides in index and in a
  Axis<2> along;      // dim
  int64_t width = 1;  // of the last axis, 1 where that is dim
  static constexpr int64_t kChunk = 256;

  Lines(const Dims& shape, const Dims& index_shape, int dim) {
    const Dims a = strides_of(shape), index = strides_of(index_shape);
    const int last = shape.rank - 1;
    for (int i = 0; i < shape.rank; ++i) {
      if (i != dim && i != last) outer.add({index_shape[i], {index[i], a[i]}});
    }
    along = {index_shape[dim], {index[dim], a[dim]}};
    if (dim != last) width = index_shape[last];
  }

  template <class F>
  void each(F&& f) const {
    const int64_t chunks = (width + kChunk - 1) / kChunk;
    const int64_t work = std::max<int64_t>(1, along.n * std::min(width, kChunk));
    parallel_for(outer.count(outer.rank) * chunks, kGrain / work, [&](int64_t begin, int64_t end) {
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t from = unit % chunks * kChunk, to = std::min(width, from + kChunk);
        outer.walk(outer.rank, unit / chunks, unit / chunks + 1, [&](const int64_t(&base)[2]) {
          for (int64_t j = 0; j < along.n; ++j)
            for (int64_t column = from; column < to; ++column)
              f(base[0] + j * along.stride[0] + column, base[1] + column);
        });
      }
    });
  }
};

// Adds src to a sum of type A, which is T, its unsigned twin (integers wrap) or float for 16 bits.
template <class A, class T>
void scatter_add_into(A* sum, const ScatterAdd& op) {
  const T* src = op.src.as<T>();
  const Lines lines(op.shape, op.index_shape, op.dim);
  visit_index(op.index.dtype, [&](auto tag) {
    const auto* index = op.index.as<typename decltype(tag)::type>();
    lines.each([&](int64_t p, int64_t base) {
      A& target = sum[base + index[p] * lines.along.stride[1]];
      if constexpr (std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>) {
        target += to_float(src[p]);
      } else {
        target = static_cast<A>(target + static_cast<A>(src[p]));
      }
    });
  });
}

template <class T>
void scatter_add_16bit(const ScatterAdd& op) {
  T* out = op.out.as<T>();
  Scratch<float> sum(op.out.size);
  parallel_for(op.out.size, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) sum[i] = to_float(out[i]);
  });
  scatter_add_into<float, T>(sum.data(), op);
  parallel_for(op.out.size, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = from_float<T>(sum[i]);
  });
}

}  // namespace

void select_cpu(const Select& op) {
  const int64_t n = op.index.size, inner = op.inner;
  check_select(op.a, op.index, op.out, op.outer, op.size, inner);
  check_index(op.index, op.size, static_cast<Caller>(op.caller));
  if (op.out.size == 0) return;
  visit_width(op.a.dtype, [&](auto width) {
    using T = typename decltype(width)::type;
    const T* a = static_cast<const T*>(op.a.data);
    T* out = static_cast<T*>(op.out.data);
    visit_index(op.index.dtype, [&](auto tag) {
      const auto* index = op.index.as<typename decltype(tag)::type>();
      parallel_for(op.outer * n, kGrain / inner, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          const T* source = a + (row / n * op.size + index[row % n]) * inner;
          if (inner == 1) {
            out[row] = *source;
          } else {
            std::memcpy(out + row * inner, source, inner * sizeof(T));
          }
        }
      });
    });
  });
}

void select_add_cpu(const SelectAdd& op) {
  const int64_t n = op.index.size;
  check_select(op.grad, op.index, op.grad_out, op.outer, op.size, op.inner);
  check_index(op.index, op.size, Caller::index_select);
  if (op.grad.size == 0) return;
  Scratch<int64_t> start(op.size + 1), order(n);
  visit_index(op.index.dtype, [&](auto tag) {
    const auto* index = op.index.as<typename decltype(tag)::type>();
    std::fill(start.data(), start.data() + op.size + 1, 0);
    for (int64_t j = 0; j < n; ++j)
      if (index[j] != op.skip) ++start[index[j] + 1];
    for (int64_t s = 0; s < op.size; ++s) start[s + 1] += start[s];
    // Filling moves start[s] to the end of s, which is where s + 1 starts: shift back afterwards.
    for (int64_t j = 0; j < n; ++j)
      if (index[j] != op.skip) order[start[index[j]]++] = j;
    std::memmove(start.data() + 1, start.data(), op.size * sizeof(int64_t));
    start[0] = 0;
  });
  SURPRISAL_DISPATCH(indexing::select_add, op, start.data(), order.data());
}

void gather_cpu(const Gather& op) {
  check_lines(op.index, op.a, op.out, op.shape, op.index_shape, op.dim);
  check_index(op.index, op.shape[op.dim], Caller::gather);
  if (op.out.size == 0) return;
  const Lines lines(op.shape, op.index_shape, op.dim);
  visit_width(op.a.dtype, [&](auto width) {
    using T = typename decltype(width)::type;
    const T* a = static_cast<const T*>(op.a.data);
    T* out = static_cast<T*>(op.out.data);
    visit_index(op.index.dtype, [&](auto tag) {
      const auto* index = op.index.as<typename decltype(tag)::type>();
      lines.each(
          [&](int64_t p, int64_t base) { out[p] = a[base + index[p] * lines.along.stride[1]]; });
    });
  });
}

void scatter_add_cpu(const ScatterAdd& op) {
  check_lines(op.index, op.out, op.src, op.shape, op.index_shape, op.dim);
  check_index(op.index, op.shape[op.dim], Caller::scatter_add);
  if (op.src.size == 0) return;
  switch (op.out.dtype) {
    case DType::f32:
      return scatter_add_into<float, float>(op.out.as<float>(), op);
    case DType::f64:
      return scatter_add_into<double, double>(op.out.as<double>(), op);
    case DType::bf16:
      return scatter_add_16bit<BFloat16>(op);
    case DType::f16:
      return scatter_add_16bit<Float16>(op);
    case DType::i32:
      return scatter_add_into<uint32_t, int32_t>(static_cast<uint32_t*>(op.out.data), op);
    case DType::i64:
      return scatter_add_into<uint64_t, int64_t>(static_cast<uint64_t*>(op.out.data), op);
    default:
      return scatter_add_into<uint8_t, uint8_t>(op.out.as<uint8_t>(), op);
  }
}

void masked_fill_cpu(const MaskedFill& op) {
  const Axes<1> axes = check_mask(op);
  if (op.a.size == 0) return;
  SURPRISAL_DISPATCH(indexing::masked_fill, op, axes, bits_of_value(op.a.dtype, op.value));
}

void one_hot_cpu(const OneHot& op) {
  const int64_t n = op.index.size;
  require(op.out.size == n * op.classes, "oneHot: shapes do not fit");
  check_index(op.index, op.classes, Caller::one_hot);
  if (op.out.size == 0) return;
  const uint64_t one = bits_of_value(op.out.dtype, 1);
  visit_width(op.out.dtype, [&](auto width) {
    using T = typename decltype(width)::type;
    T* out = static_cast<T*>(op.out.data);
    visit_index(op.index.dtype, [&](auto tag) {
      const auto* index = op.index.as<typename decltype(tag)::type>();
      parallel_for(n, kGrain / op.classes, [&](int64_t begin, int64_t end) {
        std::memset(out + begin * op.classes, 0, (end - begin) * op.classes * sizeof(T));
        for (int64_t i = begin; i < end; ++i) out[i * op.classes + index[i]] = T(one);
      });
    });
  });
}

}  // namespace surprisal::indexing
