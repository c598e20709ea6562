// Which kernels a reduction takes on a device, with how many threads: a function of the shape
// alone, and of the outer sizes only as to how many blocks there are, so that a row gives the same
// bits in any batch and on any device. Checked by test/ops/reduce-plan.test.ts.
//
// The first stage reduces the innermost reduced axis: `a` is (outer, n, inner) to it. Other reduced
// axes, and the chunks into which a long one is cut, are left to a second stage that folds the
// first one's partial results in their order.
#pragma once
#include <algorithm>

#include "ops/reduce/axes.h"

namespace surprisal::reduce {

constexpr int kThreads = 256;            // of a block
constexpr int kMaxState = 24;            // bytes of a partial result
constexpr int64_t kTileBytes = 16384;    // that a block stages at once: 64 a thread
constexpr int kElements = 8;             // that a thread folds at once
constexpr int64_t kColumnChunk = 32768;  // elements that a block of columns folds
constexpr int kColumns = 128;            // neighbouring columns of a block, where there are so many
constexpr int64_t kMostChunks = 4096;    // beyond, chunks grow

enum class Form : int32_t {
  row,     // inner = 1: whole rows, or chunks of a long one, staged in shared memory
  column,  // neighbouring threads on neighbouring columns
};

// A mixed-radix number: digit d counts to size[d] and weighs stride[d].
struct Radix {
  int rank = 0;
  int64_t size[kMaxRank] = {}, stride[kMaxRank] = {};

  void add(int64_t n, int64_t step) {
    size[rank] = n;
    stride[rank++] = step;
  }
  SP_HOST_DEVICE int64_t at(int64_t i) const {
    int64_t offset = 0;
    for (int d = rank - 1; d >= 0; --d) {
      const int64_t rest = i / size[d];
      offset += (i - rest * size[d]) * stride[d];
      i = rest;
    }
    return offset;
  }
};

struct Plan {
  Form form = Form::row;
  int64_t outer = 1, n = 1, inner = 1;  // as the first stage sees them
  int lanes = 1;                        // threads a row or a column
  int64_t rows = 1;                     // row: rows of a block
  int64_t chunk = 0, chunks = 1;        // elements of n that a block folds
  bool staged = false;                  // column: by 16 bytes through shared memory
  int64_t blocks = 0;
  int64_t shared = 0;

  bool combine = false;  // whether there is a second stage
  int64_t parts = 1;     // partial results of a result
  int combine_lanes = 1;
  int64_t combine_blocks = 0;
  Radix kept, folded;  // where the partial results lie: a result's first, and from there
  Radix result;        // which result an outer index belongs to; rank 0: itself
};

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The least power of two that is not below x, within [1, most].
inline int64_t power_of_two(int64_t x, int64_t most) {
  int64_t p = 1;
  while (p < x && p < most) p *= 2;
  return p;
}

// Chunks of at most `most` elements, of about one size, a multiple of `unit` as `most` is.
inline void cut(int64_t most, int64_t unit, Plan& plan) {
  plan.chunks = std::max<int64_t>(1, ceil_div(plan.n, most));
  plan.chunk = std::max<int64_t>(1, ceil_div(ceil_div(plan.n, plan.chunks), unit)) * unit;
  plan.chunks = std::max<int64_t>(1, ceil_div(plan.n, plan.chunk));
}

inline void plan_rows(int64_t element_bytes, Plan& plan) {
  plan.form = Form::row;
  const int64_t tile = kTileBytes / element_bytes;
  plan.lanes = static_cast<int>(power_of_two(ceil_div(plan.n, kElements), kThreads));
  plan.rows = std::max<int64_t>(1, tile / std::max<int64_t>(1, plan.n));
  cut(tile * power_of_two(ceil_div(plan.n, tile * kMostChunks), plan.n), 64, plan);
  plan.blocks = ceil_div(plan.outer, plan.rows) * plan.chunks;
  // A tile begins anywhere within 16 bytes; behind it lies a state a warp.
  plan.shared = kTileBytes + 16 + kThreads / 32 * kMaxState;
}

inline void plan_columns(int64_t element_bytes, Plan& plan) {
  plan.form = Form::column;
  const int64_t width = power_of_two(plan.inner, kColumns);
  plan.lanes = static_cast<int>(power_of_two(ceil_div(plan.n, kElements), kThreads / width));
  const int64_t rows = kColumnChunk / (kThreads / plan.lanes);
  cut(rows * power_of_two(ceil_div(plan.n, rows * kMostChunks), plan.n),
      int64_t{kElements} * plan.lanes, plan);
  plan.blocks = ceil_div(plan.outer * plan.inner, kThreads / plan.lanes) * plan.chunks;
  // A block's columns are neighbours, and their part of a row is at least two sectors of memory.
  const int64_t columns = kThreads / plan.lanes;
  plan.staged = plan.inner % columns == 0 && columns * element_bytes >= 64;
  plan.shared = std::max(kThreads * kMaxState, plan.staged ? static_cast<int>(kTileBytes) : 0);
}

// The second stage. Partial results lie as (outer, chunks, inner).
inline void plan_combine(const Axes& axes, int last, Plan& plan) {
  int64_t stride[kMaxRank], step = plan.chunks * plan.inner, results = plan.inner, count = 1;
  for (int d = last - 1; d >= 0; --d) {
    stride[d] = step;
    step *= axes.size[d];
  }
  bool mixed = false;
  for (int d = 0; d < last; ++d) {
    (axes.reduced[d] ? plan.folded : plan.kept).add(axes.size[d], stride[d]);
    (axes.reduced[d] ? count : results) *= axes.size[d];
    mixed |= axes.reduced[d];
  }
  plan.combine = mixed || plan.chunks > 1;
  if (!plan.combine) return;
  if (mixed) {
    int64_t weight = 1;
    int64_t weights[kMaxRank];
    for (int d = last - 1; d >= 0; --d) {
      weights[d] = axes.reduced[d] ? 0 : weight;
      if (!axes.reduced[d]) weight *= axes.size[d];
    }
    for (int d = 0; d < last; ++d) plan.result.add(axes.size[d], weights[d]);
  }
  if (plan.chunks > 1) plan.folded.add(plan.chunks, plan.inner);
  if (plan.inner > 1) plan.kept.add(plan.inner, 1);
  plan.parts = count * plan.chunks;
  plan.combine_lanes = static_cast<int>(power_of_two(ceil_div(plan.parts, 4), kThreads));
  plan.combine_blocks = ceil_div(results, kThreads / plan.combine_lanes);
}

inline Plan plan(const Axes& axes, DType dtype) {
  Plan plan;
  int last = axes.rank - 1;
  while (last >= 0 && !axes.reduced[last]) --last;
  for (int d = 0; d < axes.rank; ++d)
    (d < last    ? plan.outer
     : d == last ? plan.n
     : last < 0  ? plan.outer
                 : plan.inner) *= axes.size[d];
  if (plan.outer * plan.n * plan.inner == 0) {
    // Results of nothing: every kept element is a row without elements.
    plan.outer = 1;
    for (int d = 0; d < axes.rank; ++d) plan.outer *= axes.reduced[d] ? 1 : axes.size[d];
    plan.n = 0;
    plan.inner = 1;
    plan_rows(size_of(dtype), plan);
    return plan;
  }
  plan.inner == 1 ? plan_rows(size_of(dtype), plan) : plan_columns(size_of(dtype), plan);
  if (last >= 0) plan_combine(axes, last, plan);
  return plan;
}

}  // namespace surprisal::reduce
