// Copies that only move elements; the floor is the bytes of what is read and written, once.
// Elements go by their width. What merges to one contiguous axis is a device copy; else, from the
// last axis:
//   packs   both arrays run on: packs of up to 16 bytes, the widest that sizes, strides and
//   addresses
//           all divide by ([B, T, H, d] <-> [B, H, T, d] moves 16 bytes an access), down to one
//           element
//   spread  the source repeats one element along it (expand): read once, written in packs
//   tiles   the source runs on along another axis (a transposition): through shared memory, so that
//           both arrays see whole rows of a tile
// An element's index costs one multiplication by a reciprocal an axis. No value depends on another.
#include "cuda/axes.h"
#include "cuda/elements.h"
#include "cuda/launch.h"
#include "ops/movement/op.h"
#include "ops/movement/plan.h"

namespace surprisal::movement {
namespace {

using namespace cuda;

template <class T>
struct Copy {
  const T* a;
  T* out;  // in packs, and so are the strides
  DeviceAxes<2> axes;
  int64_t items;
};

// The plain kernel for any strides: items are walked in the order of `shape`.
template <class T>
__global__ void __launch_bounds__(kThreads) movement_packs_kernel(Copy<T> c) {
  const int64_t first = block_index() * (kItems * kThreads) + thread_index();
  T item[kItems];
  int64_t at[kItems][2];
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    if (first + k * kThreads >= c.items) break;
    c.axes.offsets(static_cast<uint32_t>(first + k * kThreads), at[k]);
    item[k] = load(c.a + at[k][0]);
  }
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    if (first + k * kThreads >= c.items) break;
    store(c.out + at[k][1], item[k]);
  }
}

template <class T, int N>
struct Spread {
  const T* a;
  Pack<T, N>* out;
  DeviceAxes<2> axes;
  int64_t items;
};

// One read for N elements, where the kernel above would read the same one N times.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) movement_spread_kernel(Spread<T, N> c) {
  const int64_t first = block_index() * (kItems * kThreads) + thread_index();
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    if (first + k * kThreads >= c.items) break;
    int64_t at[2];
    c.axes.offsets(static_cast<uint32_t>(first + k * kThreads), at);
    const T x = load(c.a + at[0]);
    Pack<T, N> pack;
#pragma unroll
    for (int j = 0; j < N; ++j) pack.at[j] = x;
    store(c.out + at[1], pack);
  }
}

template <class T>
struct Tiles {
  const T* a;
  T* out;
  DeviceAxes<4> axes;  // of a tile: where it begins in a and out, its first column, its first row
  int64_t columns, rows;
  int64_t column_stride, row_stride;  // of a column in out, of a row in a: the others are 1
};
// A row's pitch is odd in 4-byte banks (in pairs of banks for 8 bytes): rows and columns are read
// without conflicts.
template <class T>
struct Tile {
  static constexpr int kEdge = tile_edge(sizeof(T));
  T at[kEdge][kEdge + (sizeof(T) < 4 ? 4 / sizeof(T) : 1)];
};

// Rows of `a` are read along columns and written along rows of `out`: whole sectors on both sides,
// where the kernels above would touch a sector for each element on one of them.
template <class T>
__global__ void __launch_bounds__(kThreads) movement_tiles_kernel(Tiles<T> c) {
  constexpr int kEdge = Tile<T>::kEdge, kStep = kThreads / kEdge;
  auto& tile = shared<Tile<T>>();
  int64_t at[4];
  c.axes.offsets(static_cast<uint32_t>(block_index()), at);
  const int64_t columns = c.columns - at[2], rows = c.rows - at[3];  // that are left
  const int x = thread_index() % kEdge, y = thread_index() / kEdge;
  const T* a = c.a + at[0] + x;
#pragma unroll
  for (int i = 0; i < kEdge; i += kStep)
    if (x < columns && y + i < rows) store(&tile.at[y + i][x], load(a + (y + i) * c.row_stride));
  sync_threads();  // other threads' rows are read next
  T* out = c.out + at[1] + x;
#pragma unroll
  for (int i = 0; i < kEdge; i += kStep)
    if (x < rows && y + i < columns)
      store(out + (y + i) * c.column_stride, load(&tile.at[x][y + i]));
}

template <class T>
void launch_tiles(const T* a, T* out, const Moved& axes, const Plan& p, Stream& stream) {
  const Axis<2> column = axes.axis[p.across], row = axes.axis[axes.rank - 1];
  constexpr int64_t kEdge = Tile<T>::kEdge;
  Axes<4> tiles;
  for (int i = 0; i < axes.rank - 1; ++i)
    if (i != p.across)
      tiles.axis[tiles.rank++] = {axes.axis[i].n,
                                  {axes.axis[i].stride[0], axes.axis[i].stride[1], 0, 0}};
  tiles.axis[tiles.rank++] = {(column.n + kEdge - 1) / kEdge,
                              {kEdge, kEdge * column.stride[1], kEdge, 0}};
  tiles.axis[tiles.rank++] = {(row.n + kEdge - 1) / kEdge,
                              {kEdge * row.stride[0], kEdge, 0, kEdge}};
  launch(
      stream, movement_tiles_kernel<T>, {p.blocks, kThreads, sizeof(Tile<T>)},
      Tiles<T>{a, out, DeviceAxes<4>::of(tiles), column.n, row.n, column.stride[1], row.stride[0]});
}

template <class T>
void launch_packs(const void* a, void* out, const Moved& axes, Stream& stream) {
  in_parts(axes, [&](const Moved& part, const int64_t(&at)[2], int64_t) {
    const int64_t items = part.count(part.rank);
    launch(stream, movement_packs_kernel<T>, {blocks_of(items), kThreads},
           Copy<T>{static_cast<const T*>(a) + at[0], static_cast<T*>(out) + at[1],
                   DeviceAxes<2>::of(part), items});
  });
}

template <class T, int N>
void launch_spread(const T* a, T* out, const Moved& axes, Stream& stream) {
  in_parts(axes, [&](const Moved& part, const int64_t(&at)[2], int64_t) {
    const int64_t items = part.count(part.rank);
    launch(stream, movement_spread_kernel<T, N>, {blocks_of(items), kThreads},
           Spread<T, N>{a + at[0], reinterpret_cast<Pack<T, N>*>(out) + at[1],
                        DeviceAxes<2>::of(part), items});
  });
}

template <class T>
void copy_as(const StridedCopy& op, Stream& stream) {
  const T* a = static_cast<const T*>(op.a.data) + op.a_offset;
  T* out = static_cast<T*>(op.out.data) + op.out_offset;
  const Moved axes = merged(op.shape, op.a_strides, op.out_strides);
  const Axis<2> row = axes.axis[axes.rank - 1];
  if (axes.rank == 1 && row.stride[0] == 1 && row.stride[1] == 1)
    return stream.copy(out, a, row.n * static_cast<int64_t>(sizeof(T)));
  const Plan p =
      plan(axes, sizeof(T), reinterpret_cast<uintptr_t>(a), reinterpret_cast<uintptr_t>(out));
  if (p.how == Plan::tiles) return launch_tiles(a, out, axes, p, stream);
  const Moved packs = in_packs(axes, p);
  if (p.how == Plan::spread) return launch_spread<T, kPack<T>>(a, out, packs, stream);
  switch (p.pack * sizeof(T)) {
    case 16:
      return launch_packs<Pack<uint64_t, 2>>(a, out, packs, stream);
    case 8:
      return launch_packs<uint64_t>(a, out, packs, stream);
    case 4:
      return launch_packs<uint32_t>(a, out, packs, stream);
    case 2:
      return launch_packs<uint16_t>(a, out, packs, stream);
    default:
      return launch_packs<uint8_t>(a, out, packs, stream);
  }
}

template <class T, int N>
struct Corner {
  const Pack<T, N>* a;
  Pack<T, N>* out;
  DeviceAxes<2> axes;  // of packs: their row and their place in it
  int64_t items;
  int64_t diagonal, column;  // of the first item, the row's number added to the diagonal
  bool lower;
};

// What is cleared is not read.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) movement_triangle_kernel(Corner<T, N> c) {
  const int64_t first = block_index() * (kItems * kThreads) + thread_index();
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    const int64_t i = first + k * kThreads;
    if (i >= c.items) break;
    int64_t at[2];
    c.axes.offsets(static_cast<uint32_t>(i), at);
    // Lower keeps the columns before the cut, upper those from it on.
    const int64_t cut = at[0] + c.diagonal + c.lower, column = c.column + at[1] * N;
    Pack<T, N> pack{};
    if (c.lower ? column < cut : column + N > cut) pack = load(c.a + i);
#pragma unroll
    for (int j = 0; j < N; ++j)
      if ((column + j < cut) != c.lower) pack.at[j] = 0;
    store(c.out + i, pack);
  }
}

template <class T, int N>
void launch_triangle(const Triangle& op, Stream& stream) {
  const Axes<2> axes = triangle_axes(op.a.size, op.rows, op.cols, N);
  in_parts(axes, [&](const Axes<2>& part, const int64_t(&at)[2], int64_t first) {
    const int64_t items = part.count(part.rank);
    launch(stream, movement_triangle_kernel<T, N>, {blocks_of(items), kThreads},
           Corner<T, N>{static_cast<const Pack<T, N>*>(op.a.data) + first,
                        static_cast<Pack<T, N>*>(op.out.data) + first, DeviceAxes<2>::of(part),
                        items, at[0] + op.diagonal, at[1] * N, op.lower});
  });
}

template <class T, int N>
struct Constant {
  T* out;
  int64_t n;
  T value;
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads) movement_fill_kernel(Constant<T, N> c) {
  const int64_t first = block_index() * (kItems * kThreads) + thread_index(), packs = c.n / N;
  Pack<T, N> pack;
#pragma unroll
  for (int j = 0; j < N; ++j) pack.at[j] = c.value;
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    if (first + k * kThreads >= packs) break;
    store(reinterpret_cast<Pack<T, N>*>(c.out) + first + k * kThreads, pack);
  }
  const int64_t rest = packs * N + thread_index();
  if (block_index() == 0 && rest < c.n) store(c.out + rest, c.value);
}

template <class T, int N>
void launch_fill(const View& out, T value, Stream& stream) {
  launch(stream, movement_fill_kernel<T, N>, {blocks_of((out.size + N - 1) / N), kThreads},
         Constant<T, N>{static_cast<T*>(out.data), out.size, value});
}

}  // namespace

void strided_copy_cuda(const StridedCopy& op, Stream& stream) {
  if (op.shape.count() == 0) return;
  check(op);
  visit_width(op.a.dtype, [&](auto tag) { copy_as<typename decltype(tag)::type>(op, stream); });
}

void triangle_cuda(const Triangle& op, Stream& stream) {
  if (op.a.size == 0) return;
  check(op);
  visit_width(op.a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const bool aligned = is_aligned(op.a.data) && is_aligned(op.out.data);
    const bool packs = triangle_pack(op.cols, sizeof(T), aligned) > 1;
    packs ? launch_triangle<T, kPack<T>>(op, stream) : launch_triangle<T, 1>(op, stream);
  });
}

void fill_cuda(const Fill& op, Stream& stream) {
  if (op.out.size == 0) return;
  const int64_t width = size_of(op.out.dtype);
  uint64_t bits = 0;
  visit_any(op.out.dtype, [&](auto tag) {
    const auto value = element_of<typename decltype(tag)::type>(op.value);
    std::memcpy(&bits, &value, sizeof value);
  });
  if (bits == 0 || width == 1)
    return stream.fill_bytes(op.out.data, static_cast<int>(bits), op.out.size * width);
  visit_width(op.out.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    is_aligned(op.out.data) ? launch_fill<T, kPack<T>>(op.out, static_cast<T>(bits), stream)
                            : launch_fill<T, 1>(op.out, static_cast<T>(bits), stream);
  });
}

}  // namespace surprisal::movement
