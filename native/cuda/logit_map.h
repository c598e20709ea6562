// LogitMap (core/row_loss.h) in kernels.
#pragma once
#include <cmath>

#include "core/row_loss.h"
#include "cuda/device.h"

namespace surprisal::cuda {

// tanh u and its derivative from one exponential and one division, as in cpu/logit_map.h: with
// m = e^(2|u|) - 1 and r = 1/(m+2), tanh |u| = m r = 1 - 2r and tanh' = 4 r (1-r), which keeps its
// digits where tanh saturates. A few ulp. At the clamp the derivative is below 1e-36; a logit of
// -inf must have exactly none. A NaN passes.
template <class Real>
inline __device__ Real tanh_of_cap(Real u, Real* derivative) {
  const Real twice = std::fabs(u) * 2;
  const Real m = std::expm1(twice > Real(86) ? Real(86) : twice);
  const Real r = 1 / (m + 2);
  *derivative = twice > Real(86) ? Real(0) : 4 * r * (1 - r);
  return std::copysign(m > Real(2) ? 1 - 2 * r : m * r, u);
}

template <class Real>
struct DeviceMap {
  Real in, out;
  bool capped;

  SP_HOST_DEVICE explicit DeviceMap(const LogitMap& map)
      : in(static_cast<Real>(map.in)), out(static_cast<Real>(map.out)), capped(map.capped) {}

  __device__ Real value(Real x) const {
    Real slope;
    return value(x, &slope);
  }
  // The same bits as value(x), and dz/dx.
  __device__ Real value(Real x, Real* slope) const {
    *slope = in;
    if (!capped) return in * x;
    Real derivative;
    const Real t = tanh_of_cap(in * x, &derivative);
    *slope = in * out * derivative;
    return out * t;
  }
};

}  // namespace surprisal::cuda
