// LogitMap (core/row_loss.h) in few instructions, for logits whose own error is larger than its:
// sums of products of 16-bit floats.
#pragma once
#include <cmath>

#include "core/row_loss.h"
#include "cuda/device.h"

namespace surprisal::cuda {

constexpr float kLog2E = 1.44269504f;

__device__ inline float reciprocal_fast(float x) {  // 1 ulp, 0 above 2^126
#if defined(__CUDA_ARCH__)
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return x > 0x1p126f ? 0.0f : 1 / x;
#endif
}

// tanh u = 1 - 2r with r = 1 / (1 + e^2|u|), to 2^-22 of 1 where DeviceMap has 2^-23 of tanh u; its
// derivative 4 r (1 - r) to a few ulp. A NaN passes.
struct FastMap {
  float in, out;
  bool capped;

  SP_HOST_DEVICE explicit FastMap(const LogitMap& map)
      : in(static_cast<float>(map.in)), out(static_cast<float>(map.out)), capped(map.capped) {}

  __device__ float value(float x) const {
    float slope;
    return value(x, &slope);
  }
  // The same bits as value(x), and dz/dx.
  __device__ float value(float x, float* slope) const {
    *slope = in;
    if (!capped) return in * x;
    const float z = capped_value(x, slope);
    *slope *= in * out;
    return z;
  }
  // Of a map that is known to have a cap; slope: as a part of the steepest.
  __device__ float capped_value(float x, float* slope) const {
    const float u = in * x;
    const float r = reciprocal_fast(exp2_fast(std::fabs(u) * (2 * kLog2E)) + 1);
    *slope = 4 * r * (1 - r);
    return out * std::copysign(1 - 2 * r, u);
  }
};

}  // namespace surprisal::cuda
