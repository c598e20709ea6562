// The points of one side of a term, their potentials, and what these earn.
#pragma once
#include <cmath>

#include "ops/sinkhorn/scores_device.h"

namespace surprisal::sinkhorn {

// One side of a term.
template <class A>
struct DevicePoints {
  int64_t n = 0;
  double *potential = nullptr, *seen = nullptr, *softmin = nullptr;
  const double *weight = nullptr, *log_weight = nullptr, *shift = nullptr;
  A* weighted = nullptr;
  double rho = -1, mass = 1;

  __device__ bool relaxed() const { return rho >= 0; }
  __device__ double damp(double epsilon) const { return relaxed() ? 1 / (1 + epsilon / rho) : 1; }
  __device__ double marginal(double f) const { return relaxed() ? std::exp(-f / rho) : 1; }
  __device__ double marginal_excess(double f) const { return relaxed() ? std::expm1(-f / rho) : 0; }
  __device__ double reward(double f) const { return relaxed() ? -rho * std::expm1(-f / rho) : f; }
  // As a column of the other side's steps.
  __device__ void weigh(int64_t i, double f, double unit) const {
    const double log = cuda::load(log_weight + i);
    const double shifted = unit * (f - cuda::load(shift + i)) + log;
    cuda::store(weighted + i, log > -1e300 ? static_cast<A>(shifted) : kNothing<A>);
  }
};

}  // namespace surprisal::sinkhorn
