// Random numbers as a function of (seed, block): Philox4x32-10 (Salmon et al. 2011, "Parallel
// random numbers: as easy as 1, 2, 3"). A draw owns a range of blocks, element i of a float32 draw
// is made from word i % 4 of block i / 4, so that any thread or device can make any element.
// Normals are Box-Muller over a logarithm and a sine made of IEEE + - * / sqrt alone: every target
// gets the same bits, provided that no multiply and add are contracted (g++ -ffp-contract=off,
// nvcc -fmad=false). Series are Taylor's, cut below half an ulp.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/portable.h"

namespace surprisal {

struct PhiloxBlock {
  uint32_t word[4];
};

inline SP_HOST_DEVICE PhiloxBlock philox(uint64_t seed, uint64_t block) {
  uint32_t c0 = uint32_t(block), c1 = uint32_t(block >> 32), c2 = 0, c3 = 0;
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = uint32_t(p1 >> 32) ^ c1 ^ k0;
    c1 = uint32_t(p1);
    c2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
    c3 = uint32_t(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Uniform on [0, 1): a float has room for 24 bits, a double for 53.
inline SP_HOST_DEVICE float uniform(uint32_t word) { return float(word >> 8) * 0x1p-24f; }
inline SP_HOST_DEVICE double uniform(uint32_t high, uint32_t low) {
  return double((uint64_t{high} << 32 | low) >> 11) * 0x1p-53;
}

namespace detail {

template <class T>
struct Format;
template <>
struct Format<float> {
  using Bits = uint32_t;
  static constexpr Bits kSqrtHalf = 0x3f3504f3u;
  static constexpr int kMantissa = 23, kLogTerms = 5, kSinTerms = 5, kCosTerms = 6;
};
template <>
struct Format<double> {
  using Bits = uint64_t;
  static constexpr Bits kSqrtHalf = 0x3fe6a09e667f3bcdull;
  static constexpr int kMantissa = 52, kLogTerms = 12, kSinTerms = 9, kCosTerms = 9;
};

// sum over k of z^k / (2k+1): artanh(s)/s at z = s^2.
template <class T, int K = 0>
inline SP_HOST_DEVICE T artanh_series(T z) {
  constexpr T kTerm = T(1) / T(2 * K + 1);
  if constexpr (K + 1 == Format<T>::kLogTerms) {
    return kTerm;
  } else {
    return kTerm + z * artanh_series<T, K + 1>(z);
  }
}

// sum over k of (-z)^k First! / (2k + First)!: cos t at First = 0, sin(t)/t at First = 1, z = t^2.
template <class T, int First, int Terms, int K = 1>
inline SP_HOST_DEVICE T sine_series(T z) {
  if constexpr (K == Terms) {
    return 1;
  } else {
    constexpr T kRatio = T(1) / T((2 * K + First) * (2 * K + First - 1));
    return 1 - z * kRatio * sine_series<T, First, Terms, K + 1>(z);
  }
}

}  // namespace detail

// ln u for normal u in (0, 1]: u = m 2^-k with m in [1/sqrt2, sqrt2), ln m = 2 artanh((m-1)/(m+1)).
template <class T>
inline SP_HOST_DEVICE T log_unit(T u) {
  using Format = detail::Format<T>;
  constexpr auto kExponent = typename Format::Bits(1) << Format::kMantissa;
  typename Format::Bits bits;
  std::memcpy(&bits, &u, sizeof u);
  const auto k = (Format::kSqrtHalf + kExponent - 1 - bits) >> Format::kMantissa;
  bits += k << Format::kMantissa;
  T m;
  std::memcpy(&m, &bits, sizeof m);
  const T s = (m - 1) / (m + 1);
  return 2 * s * detail::artanh_series(s * s) - T(0.693147180559945309417232) * T(int(k));
}

// sin and cos of 2 pi u for u in [0, 1): the quarter turn is split off exactly.
template <class T>
inline SP_HOST_DEVICE void sincos_turns(T u, T& sine, T& cosine) {
  using Format = detail::Format<T>;
  const int quarter = int(u * 4 + T(0.5));
  const T t = (u * 4 - T(quarter)) * T(1.57079632679489661923132), z = t * t;
  const T s = t * detail::sine_series<T, 1, Format::kSinTerms>(z);
  const T c = detail::sine_series<T, 0, Format::kCosTerms>(z);
  const T a = quarter & 1 ? c : s, b = quarter & 1 ? s : c;
  sine = quarter & 2 ? -a : a;
  cosine = (quarter + 1) & 2 ? -b : b;
}

// Two independent standard normals. The first uniform is shifted to (0, 1]; the smallest, 2^-24 or
// 2^-53, bounds a normal by 5.8 or 8.6.
inline SP_HOST_DEVICE void normal_pair(uint32_t word0, uint32_t word1, float& a, float& b) {
  const float radius = std::sqrt(-2 * log_unit(uniform(word0) + 0x1p-24f));
  sincos_turns(uniform(word1), a, b);
  a *= radius;
  b *= radius;
}
inline SP_HOST_DEVICE void normal_pair(const PhiloxBlock& x, double& a, double& b) {
  const double radius = std::sqrt(-2 * log_unit(uniform(x.word[0], x.word[1]) + 0x1p-53));
  sincos_turns(uniform(x.word[2], x.word[3]), a, b);
  a *= radius;
  b *= radius;
}

}  // namespace surprisal
