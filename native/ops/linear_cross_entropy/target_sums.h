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
  int64_t row;         // of the chunk
  int64_t begin, end;  // of its targets
  A scale;

  __device__ WeightRow(const ProductW& work, int64_t row)
      : p(work), row(row), begin(0), end(0), scale(one_over_unit<A>(work.unit)) {
    if (!p.last || row >= p.columns) return;
    begin = cuda::load(p.targets.starts + row);
    end = cuda::load(p.targets.starts + row + 1);
  }

  // x, the product's sum at a feature, as it is to be stored in `out`; or keeps it for later waves.
  __device__ A finished(int64_t feature, A x) const {
    A* const sum = static_cast<A*>(p.sums) + row * p.width + feature;
    if (p.carry) x += cuda::load(sum);
    if (!p.last && !p.add) {
      cuda::store(sum, x);
      return x;
    }
    x *= scale;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n = row_at(p.targets, i);
      const Kept& kept = p.targets.kept;
      const int64_t from = kept.row(cuda::load(kept.position + n)) * p.width + feature;
      x += cuda::load(static_cast<const A*>(p.targets.own_dz) + n) *
           cuda::widened<A>(cuda::load(static_cast<const T*>(p.all_x) + from));
    }
    return x;
  }
  // Whether finished() is to be stored.
  __device__ bool stores() const { return p.last || p.add; }

  __device__ void put(int64_t feature, A x) const {
    if (row >= p.columns || feature >= p.width) return;
    x = finished(feature, x);
    if (!stores()) return;
    const int64_t at = row * p.width + feature;
    if (p.add) {
      float* to = static_cast<float*>(p.out) + at;
      cuda::store(to, cuda::load(to) + static_cast<float>(x));
    } else {
      cuda::store(static_cast<T*>(p.out) + at, cuda::narrowed<T>(x));
    }
  }
};

}  // namespace surprisal::linear_cross_entropy
