// The end of a row of dW: partial sums of earlier waves, dz of the targets times their x, rounding.
#pragma once
#include "cuda/elements.h"
#include "cuda/gemm.h"
#include "ops/linear_cross_entropy/rows_device.h"

namespace surprisal::linear_cross_entropy {

// Of SlopesWork::unit, a power of two.
template <class A>
inline __device__ A one_over_unit(const float* unit) {
  return unit ? A(1) / static_cast<A>(cuda::load(unit)) : A(1);
}

// The kept row at a place of the sorted keys.
inline __device__ int64_t row_at(const TargetRows& targets, int64_t i) {
  return static_cast<int64_t>(cuda::load(targets.keys + i) & 0xffffffffu);
}

template <class T>
struct WeightRow {
  using A = accumulator_t<T>;
  const ProductW& p;
  int64_t row;     // of the chunk
  int64_t begin;   // place of its targets: whole segments, then single rows
  uint32_t count;  // of them
  A scale;

  __device__ WeightRow(const ProductW& work, int64_t row)
      : p(work), row(row), begin(0), count(0), scale(one_over_unit<A>(work.unit)) {
    if (!p.last || row >= p.columns) return;
    begin = cuda::load(p.targets.starts + row);
    count = static_cast<uint32_t>(cuda::load(p.targets.starts + row + 1) - begin);
  }

  // take(sums) of what is added to the product's sums: those of earlier waves, what dropped blocks
  // come to, the whole segments of rows whose target this is. One loop, so that what it does is
  // compiled once.
  template <class F>
  __device__ void each_sum(F&& take) const {
    if (row >= p.columns) return;
    const int segments = static_cast<int>(count / kTargetSegment);
    for (int i = -2; i < segments; ++i) {
      const A* from = nullptr;
      if (i >= 0) {
        from = p.targets.template segment<A>(begin + i * kTargetSegment);
      } else if (i == -2) {
        if (p.carry) from = static_cast<const A*>(p.sums) + row * p.width;
      } else if (p.tail && p.last) {
        from = static_cast<const A*>(p.tail) + row / kFilterColumns * p.width;
      }
      if (from) take(from);
    }
  }

  // take(dz, x) of the other rows whose target this is.
  template <class F>
  __device__ void each_target(F&& take) const {
    const Kept& kept = p.targets.kept;
    uint32_t i = count - count % kTargetSegment;
    for (; i < count; ++i) {
      const int64_t n = row_at(p.targets, begin + i);
      take(cuda::load(static_cast<const A*>(p.targets.own_dz) + n),
           static_cast<const T*>(p.all_x) + kept.row(cuda::load(kept.position + n)) * p.width);
    }
  }

  // x: the product's sums at the features first + place(e). Rounded and stored, or kept for later
  // waves. Row by row of targets, so that their loop is compiled once a row and not once a sum.
  template <int E, class Place>
  __device__ void put(A (&x)[E], int64_t first, Place place) const {
    if (row >= p.columns) return;
    A* const sums = static_cast<A*>(p.sums) + row * p.width;
    const auto each = [&](auto&& f) {
#pragma unroll
      for (int e = 0; e < E; ++e)
        if (first + place(e) < p.width) f(x[e], first + place(e));
    };
    each_sum([&](const A* from) { each([&](A& v, int64_t d) { v += cuda::load(from + d); }); });
    if (!p.last && !p.add) return each([&](A& v, int64_t d) { cuda::store(sums + d, v); });
    each([&](A& v, int64_t) { v *= scale; });
    each_target([&](A dz, const T* from) {
      each([&](A& v, int64_t d) { v += dz * cuda::widened<A>(cuda::load(from + d)); });
    });
    if (p.add) {
      float* to = static_cast<float*>(p.out) + row * p.width;
      each([&](A& v, int64_t d) {
        cuda::store(to + d, cuda::load(to + d) + static_cast<float>(v));
      });
    } else {
      T* to = static_cast<T*>(p.out) + row * p.width;
      each([&](A& v, int64_t d) { cuda::store(to + d, cuda::narrowed<T>(v)); });
    }
  }
};

}  // namespace surprisal::linear_cross_entropy
