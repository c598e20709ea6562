// What a strided copy is after merging its axes, and which CUDA kernel takes it: pure functions of
// sizes, tested without a GPU.
#pragma once
#include "core/axes.h"
#include "core/check.h"
#include "ops/movement/op.h"

namespace surprisal::movement {

using Moved = Axes<2>;  // strides of a, strides of out

// Refuses a copy that would leave one of its arrays.
inline void check_reach(const View& view, const Dims& shape, const Dims& strides, int64_t offset) {
  require(strides.rank == shape.rank && offset >= 0, "stridedCopy: bad strides");
  int64_t last = offset;
  for (int i = 0; i < shape.rank; ++i) {
    require(shape[i] >= 0 && strides[i] >= 0, "stridedCopy: bad strides");
    // Sizes and strides are each below 2^53; the product may not be.
    int64_t step;
    require(!__builtin_mul_overflow(shape[i] - 1, strides[i], &step) &&
                !__builtin_add_overflow(last, step, &last),
            "stridedCopy: out of range");
  }
  require(last < view.size, "stridedCopy: out of range");
}

inline void check(const StridedCopy& op) {
  require(op.a.dtype == op.out.dtype, "stridedCopy: dtypes differ");
  check_reach(op.a, op.shape, op.a_strides, op.a_offset);
  check_reach(op.out, op.shape, op.out_strides, op.out_offset);
}

inline void check(const Triangle& op) {
  require(op.a.dtype == op.out.dtype && op.a.size == op.out.size, "triangle: a and out differ");
  require(op.rows > 0 && op.cols > 0 && op.a.size % (op.rows * op.cols) == 0,
          "triangle: bad shape");
}

inline Moved merged(const Dims& shape, const Dims& a_strides, const Dims& out_strides) {
  Moved axes;
  for (int i = 0; i < shape.rank; ++i) axes.add({shape[i], {a_strides[i], out_strides[i]}});
  if (axes.rank == 0) axes.axis[axes.rank++] = {1, {1, 1}};
  return axes;
}

constexpr int kThreads = 256;
constexpr int kItems = 4;  // packs a thread has in flight
// Below this many elements either way a transposition's tiles would be mostly empty.
constexpr int64_t kLeastTile = 16;
// Edge of a tile: rows of 64 to 256 bytes in both arrays, at most 17 KB of shared memory a block.
constexpr int tile_edge(int64_t width) { return width <= 4 ? 64 : 32; }

constexpr int64_t blocks_of(int64_t items) {
  return (items + kThreads * kItems - 1) / (kThreads * kItems);
}

struct Plan {
  enum How {
    packs,   // both arrays run on along the last axis: `pack` elements an access
    spread,  // one source element fills a pack of the result
    tiles,   // the source runs on along axis `across`: through shared memory
  } how = packs;
  int pack = 1;  // elements
  int across = -1;
  int64_t blocks = 0;
};

// `width`: bytes of an element. The addresses are those of the first elements.
inline Plan plan(const Moved& axes, int64_t width, uint64_t a_address, uint64_t out_address) {
  Plan plan;
  const Axis<2> row = axes.axis[axes.rank - 1];
  if (row.stride[1] == 1 && row.stride[0] > 1 && row.n >= kLeastTile) {
    for (int i = axes.rank - 2; i >= 0 && plan.across < 0; --i)
      if (axes.axis[i].stride[0] == 1 && axes.axis[i].n >= kLeastTile) plan.across = i;
  }
  if (plan.across >= 0) {
    plan.how = Plan::tiles;
    const int64_t edge = tile_edge(width);
    plan.blocks = axes.count(axes.rank - 1) / axes.axis[plan.across].n *
                  ((axes.axis[plan.across].n + edge - 1) / edge) * ((row.n + edge - 1) / edge);
    return plan;
  }
  if (row.stride[1] == 1 && row.stride[0] <= 1) {
    const bool both = row.stride[0] == 1;
    if (!both) plan.how = Plan::spread;
    // The common divisors of all sizes and steps, as the lowest set bit of their union.
    uint64_t bytes = 16 | out_address | (both ? a_address : 0);
    uint64_t elements = static_cast<uint64_t>(row.n);
    for (int i = 0; i < axes.rank - 1; ++i) {
      elements |= static_cast<uint64_t>(axes.axis[i].stride[1]);
      if (both) elements |= static_cast<uint64_t>(axes.axis[i].stride[0]);
    }
    bytes |= elements * static_cast<uint64_t>(width);
    plan.pack = static_cast<int>((bytes & (~bytes + 1)) / static_cast<uint64_t>(width));
    // A spread is written in 16 bytes or, like any other copy, by elements.
    if (plan.pack < 1 || (!both && plan.pack * width < 16)) {
      plan.pack = 1;
      plan.how = Plan::packs;
    }
  }
  plan.blocks = blocks_of(axes.count(axes.rank) / plan.pack);
  return plan;
}

// A triangle's matrices, rows and packs of a row: strides of the row's number and of the column.
inline Axes<2> triangle_axes(int64_t size, int64_t rows, int64_t cols, int pack) {
  Axes<2> axes;
  axes.axis[axes.rank++] = {size / (rows * cols), {0, 0}};
  axes.axis[axes.rank++] = {rows, {1, 0}};
  axes.axis[axes.rank++] = {cols / pack, {0, 1}};
  return axes;
}

// Elements an access: all of 16 bytes where rows are whole packs that begin at such addresses.
constexpr int triangle_pack(int64_t cols, int64_t width, bool aligned) {
  const int pack = static_cast<int>(16 / width);
  return aligned && cols % pack == 0 ? pack : 1;
}

// Axes of which the last counts packs. Strides that packs are counted in are divided too.
inline Moved in_packs(Moved axes, const Plan& plan) {
  const int last = axes.rank - 1;
  axes.axis[last].n /= plan.pack;
  for (int i = 0; i < last; ++i) {
    axes.axis[i].stride[1] /= plan.pack;
    if (plan.how == Plan::packs) axes.axis[i].stride[0] /= plan.pack;
  }
  return axes;
}

}  // namespace surprisal::movement
