// What the kernels share: one side of all problems, as it lies in device memory.
#pragma once
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/sorting.h"
#include "cuda/launch.h"
#include "cuda/numbers.h"
#include "ops/emd1d/op.h"
#include "ops/emd1d/plan.h"

namespace surprisal::emd1d {

template <class A>
struct DeviceSide {
  cuda::Numbers points;  // (B, n, D)
  int64_t n = 0;
  double* weight = nullptr;  // (B, n)
  // Of the lines in work, (B, lines, n) each.
  A *along = nullptr, *at = nullptr;  // coordinates, and these in order
  int32_t* order = nullptr;
  double *sum = nullptr, *raw = nullptr;  // cumulative weights; slopes in order
  A* slope = nullptr;  // slopes and potentials of the points; absent unless wanted
  double* potential = nullptr;
  // What the lines add up to: (B, n, D), (B, n).
  A* dpoints = nullptr;
  double* dweights = nullptr;
  A* to_weights = nullptr;
};

template <class A>
struct Job {
  DeviceSide<A> x, y;
  const A* directions = nullptr;   // (L, D) or absent
  const double* centre = nullptr;  // (B, D) or absent
  double* mass = nullptr;          // (B)
  double* value = nullptr;         // (B, lines)
  double* total = nullptr;         // (B)
  A* out = nullptr;                // (B)
  int64_t batch = 0, width = 1, projections = 1;
  int64_t first = 0, lines = 1;  // in work
  double p = 2, scale = 1;
  bool points = false, weights = false;  // gradients wanted

  __device__ double factor() const { return scale / static_cast<double>(projections); }
};

__device__ inline int64_t bits_of_double(double x) {
  int64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
__device__ inline float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline double fused(double a, double b, double c) { return fma(a, b, c); }

// Every thread of a block of up to kLineThreads gets the sum, whose order is fixed.
__device__ inline double block_total(double x, double* memory) {
  x = cuda::warp_sum(x);
  cuda::sync_threads();  // what was there before has been read
  if (cuda::lane_index() == 0) cuda::store(memory + cuda::warp_index(), x);
  cuda::sync_threads();  // the warps' sums are there
  double sum = 0;
  for (int w = 0; w < cuda::block_size() / cuda::kWarp; ++w) sum += cuda::load(memory + w);
  return sum;
}

}  // namespace surprisal::emd1d
