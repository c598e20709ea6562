// The elementary functions that functions.h is made of, on single numbers of a kernel: CUDA's own
// (1 or 2 ulp; pow 4, erfc 4) and, from them, the activations. Where an argument's rounding would
// be multiplied by the slope of an exponential (gelu's tails), its lower half is carried along.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "cuda/device.h"

namespace surprisal::elementwise::numbers {

template <class V>
__device__ inline V constant(double x) {
  return static_cast<V>(x);
}
template <class V>
__device__ inline V select(bool mask, V a, V b) {
  return mask ? a : b;
}

__device__ inline float sqrt(float x) { return ::sqrtf(x); }
__device__ inline double sqrt(double x) { return ::sqrt(x); }
__device__ inline float exp(float x) { return ::expf(x); }
__device__ inline double exp(double x) { return ::exp(x); }
__device__ inline float log(float x) { return ::logf(x); }
__device__ inline double log(double x) { return ::log(x); }
__device__ inline float log1p(float x) { return ::log1pf(x); }
__device__ inline double log1p(double x) { return ::log1p(x); }
__device__ inline float sin(float x) { return ::sinf(x); }
__device__ inline double sin(double x) { return ::sin(x); }
__device__ inline float cos(float x) { return ::cosf(x); }
__device__ inline double cos(double x) { return ::cos(x); }
__device__ inline float tanh(float x) { return ::tanhf(x); }
__device__ inline double tanh(double x) { return ::tanh(x); }
__device__ inline float pow(float x, float y) { return ::powf(x, y); }
__device__ inline double pow(double x, double y) { return ::pow(x, y); }
__device__ inline float erfc(float x) { return ::erfcf(x); }
__device__ inline double erfc(double x) { return ::erfc(x); }
__device__ inline float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
__device__ inline double fma(double a, double b, double c) { return ::fma(a, b, c); }

// e^x / (1 + e^x) where e^-x would overflow. One correction of the quotient takes in what 1 + e
// lost; for that 1 - e/2 is close enough to 1/(1 + e).
template <class V>
__device__ inline V sigmoid(V x) {
  const V e = exp(x < 0 ? x : -x), over = x < 0 ? e : V(1);
  const V sum = 1 + e, lost = (1 - sum) + e, quotient = over / sum;
  return fma(fma(-sum, quotient, over) - quotient * lost, 1 - e * V(0.5), quotient);
}
// x sigmoid(u + rest) for a small rest; in two factors where the sigmoid alone would be subnormal.
template <class V>
__device__ inline V gated(V x, V u, V rest) {
  if (u < V(std::is_same_v<V, float> ? -87 : -700)) {
    const V half = exp(V(0.5) * u);
    return x * fma(half, rest, half) * half;
  }
  if (u > V(std::is_same_v<V, float> ? 88 : 709)) return x;  // infinity included
  const V s = sigmoid(u), y = x * s;
  return y + fma(y, (1 - s) * rest, fma(x, s, -y));
}
// -inf is an infinity times 0.
template <class V>
__device__ inline V silu(V x) {
  return x < V(-1000) ? V(-0.0) : gated(x, x, V(0));
}
template <class V>
__device__ inline V softplus(V x) {
  return (x < 0 ? V(0) : x) + log1p(exp(x < 0 ? x : -x));
}

// e^(-x^2/2); in float the square's rounding error is a factor of its own.
__device__ inline float bell(float x) {
  const float half = 0.5f * x, square = half * x;
  return exp(-square) * (1 - fma(half, x, -square));
}
__device__ inline double bell(double x) { return exp(x * x * -0.5); }
// 2 Phi(x) = erfc(-x / sqrt2) = high + low. The argument is z + rest: erfc' = -2/sqrt(pi) e^(-z^2).
__device__ inline void twice_normal(float x, float& high, float& low) {
  constexpr float kHigh = -0.70710678f, kLow = -1.21016175e-8f;
  const float z = x * kHigh, rest = fma(x, kLow, fma(x, kHigh, -z));
  high = erfc(z);
  low = -1.12837917f * bell(x) * rest;
}
__device__ inline void twice_normal(double x, double& high, double& low) {
  high = erfc(x * -0.70710678118654752440);
  low = 0;
}
// x Phi(x), beyond the clamp 0 or x in every float format.
template <class V>
constexpr V kFar = std::is_same_v<V, float> ? 16 : 40;
template <class V>
__device__ inline V gelu(V x) {
  if (x < -kFar<V>) return V(-0.0);
  if (x > kFar<V>) return x;
  V high, low;
  twice_normal(x, high, low);
  const V half = V(0.5) * x, y = half * high;
  return y + fma(half, low, fma(half, high, -y));
}
// Phi(x) + x phi(x)
template <class V>
__device__ inline V gelu_slope(V x) {
  const V near = x < -kFar<V> ? -kFar<V> : x > kFar<V> ? kFar<V> : x;
  V high, low;
  twice_normal(near, high, low);
  return fma(near, bell(near) * V(0.39894228040143267794), V(0.5) * (high + low));
}

// x (1 + tanh u)/2 = x sigmoid(2u), 2u = x (c0 + c1 x^2).
constexpr double kC0 = 1.5957691216057308, kC1 = kC0 * 0.044715;
__device__ inline float gelu_tanh(float x) {
  constexpr float c0 = float(kC0), c1 = float(kC1);
  if (x < -kFar<float>) return -0.0f;
  if (x > kFar<float>) return x;
  const float square = x * x, cubic = cuda::mul_exact(square, c1);
  const float factor = cuda::add_exact(cubic, c0), back = factor - cubic;
  // What the roundings of x^2, of the factor (Knuth's sum) and of the constants left out.
  const float rest = ((cubic - (factor - back)) + (c0 - back)) + fma(square, c1, -cubic) +
                     fma(x, x, -square) * c1 +
                     fma(square, float(kC1 - double(c1)), float(kC0 - double(c0)));
  const float u = x * factor;
  return gated(x, u, fma(x, factor, -u) + x * rest);
}
__device__ inline double gelu_tanh(double x) {
  if (x < -kFar<double>) return -0.0;
  return x > kFar<double> ? x : gated(x, x * fma(x * x, kC1, kC0), 0.0);
}
template <class V>
__device__ inline V gelu_tanh_slope(V x) {
  const V near = x < -kFar<V> ? -kFar<V> : x > kFar<V> ? kFar<V> : x;
  const V square = near * near, c0 = V(kC0);
  const V s = sigmoid(near * fma(square, V(kC1), c0));
  const V slope = fma(square, V(3 * 0.044715), V(1)) * c0;
  return fma(near * s * (1 - s), slope, s);
}

#include "ops/elementwise/functions.h"

}  // namespace surprisal::elementwise::numbers
