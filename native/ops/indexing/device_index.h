// What the CUDA kernels of the indexing operations share: checked indices, the part of a row that a
// thread moves, and how positions of an index array map to elements of the other array.
#pragma once
#include "cuda/launch.h"
#include "ops/indexing/lines.h"
#include "ops/indexing/plan.h"

namespace surprisal::indexing {

using namespace cuda;

struct Index {
  const void* data;
  bool wide;  // int64
  int64_t limit;
  int32_t caller;
  FaultSite fault;

  __device__ int64_t at(int64_t i) const {
    return wide ? load(static_cast<const int64_t*>(data) + i)
                : int64_t{load(static_cast<const int32_t*>(data) + i)};
  }
  __device__ bool fits(int64_t value) const { return value >= 0 && value < limit; }
  __device__ void report(int64_t position, int64_t value) const {
    report_fault(fault, position, value, limit, caller);
  }
  // The index, or -1 for a bad one, which is reported.
  __device__ int64_t checked(int64_t i) const {
    const int64_t value = at(i);
    if (fits(value)) return value;
    report(i, value);
    return -1;
  }
};

// The part of a row that this thread moves: units first, first + lanes, ... below end.
struct Place {
  int64_t row, first, end;

  __device__ Place(const RowPlan& plan, int64_t units) {
    int64_t block = block_index(), chunk = 0;
    if (plan.chunks > 1) {
      chunk = block % plan.chunks;
      block /= plan.chunks;
    }
    row = block * (kThreads / plan.lanes) + thread_index() / plan.lanes;
    first = chunk * plan.chunk + thread_index() % plan.lanes;
    end = (chunk + 1) * plan.chunk < units ? (chunk + 1) * plan.chunk : units;
  }
};

// Adds the offsets of an item of the row-major product of `axes` to `at`.
template <int K>
__device__ inline void add_offsets(const Axes<K>& axes, int64_t item, int64_t (&at)[K]) {
  for (int i = axes.rank - 1; i >= 0; --i) {
    const int64_t rest = i > 0 ? item / axes.axis[i].n : 0;
#pragma unroll
    for (int k = 0; k < K; ++k) at[k] += (item - rest * axes.axis[i].n) * axes.axis[i].stride[k];
    item = rest;
  }
}

// Rows are lines along the last axis of the index array.
struct Places {
  Index index;
  Axes<1> outer;         // all axes but the last; strides in the whole array, 0 along dim
  int64_t rows, width;   // of the index array
  int64_t column, step;  // strides in the whole array: along the last axis (0 if dim), along dim
  RowPlan plan;
};

// --- host ----------------------------------------------------------------------------------------

inline void raise_index(const Fault& f) {
  throw index_error(static_cast<Caller>(f.b), f.a, f.value, f.row);
}

inline Index index_of(const View& index, int64_t limit, Caller caller, Stream& stream) {
  require(index.dtype == DType::i32 || index.dtype == DType::i64, "indexing: index dtype");
  return {index.data, index.dtype == DType::i64, limit, static_cast<int32_t>(caller),
          stream.fault_site(raise_index)};
}

template <class... P>
uint64_t address_bits(const P*... p) {
  return (reinterpret_cast<uintptr_t>(p) | ...);
}

template <class T, class F>
void visit_pack(int64_t row, uint64_t bits, F&& f) {
  constexpr int kMost = kPack<T>;
  if (plan_access(row * int64_t{sizeof(T)}, bits, sizeof(T)) == 16) {
    f(std::integral_constant<int, kMost>{});
  } else {
    f(std::integral_constant<int, 1>{});
  }
}

inline Places places_of(const View& index, const Dims& shape, const Dims& index_shape, int dim,
                        Caller caller, Stream& stream) {
  const Dims whole = strides_of(shape);
  const int last = shape.rank - 1;
  Places p{};
  for (int i = 0; i < last; ++i) p.outer.add({index_shape[i], {i == dim ? 0 : whole[i]}});
  p.width = index_shape[last];
  p.rows = p.width > 0 ? index.size / p.width : 0;
  p.column = dim == last ? 0 : 1;
  p.step = whole[dim];
  p.index = index_of(index, shape[dim], caller, stream);
  p.plan = plan_rows(p.rows, p.width, 4);
  return p;
}

}  // namespace surprisal::indexing
