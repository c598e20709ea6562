// Element types, and the two 16-bit storage formats as plain structs.
// Conversions round to nearest even (IEEE 754); NaN stays NaN.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/portable.h"

namespace surprisal {

enum class DType : int32_t { f32, f64, f16, bf16, i32, i64, u8, boolean };

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

SP_HOST_DEVICE constexpr int64_t size_of(DType t) {
  switch (t) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
      return 2;
    default:
      return 1;
  }
}

SP_HOST_DEVICE constexpr bool is_float(DType t) {
  return t == DType::f32 || t == DType::f64 || t == DType::f16 || t == DType::bf16;
}

constexpr const char* name_of(DType t) {
  constexpr const char* kNames[] = {"float32", "float64", "float16", "bfloat16",
                                    "int32",   "int64",   "uint8",   "bool"};
  return kNames[static_cast<int32_t>(t)];
}

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<Float16> {
  static constexpr DType value = DType::f16;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::u8;
};
template <>
struct DTypeOf<int8_t> {
  static constexpr DType value = DType::boolean;
};

inline SP_HOST_DEVICE uint32_t bits_of(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  return u;
}
inline SP_HOST_DEVICE float float_of(uint32_t u) {
  float x;
  std::memcpy(&x, &u, 4);
  return x;
}

inline SP_HOST_DEVICE float to_float(float x) { return x; }
inline SP_HOST_DEVICE float to_float(BFloat16 x) { return float_of(uint32_t(x.bits) << 16); }
inline SP_HOST_DEVICE float to_float(Float16 h) {
#if defined(__CUDA_ARCH__)
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h.bits));
  return x;
#else
  const uint32_t sign = uint32_t(h.bits & 0x8000) << 16;
  const uint32_t magnitude = h.bits & 0x7fff;
  if (magnitude >= 0x7c00) return float_of(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  // Scaling by 2^112 moves the exponent bias from 15 to 127 and normalises subnormals exactly.
  return float_of(sign | bits_of(float_of(magnitude << 13) * 0x1p112f));
#endif
}

inline SP_HOST_DEVICE BFloat16 to_bfloat16(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  BFloat16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
#else
  const uint32_t u = bits_of(x);
  if ((u & 0x7fffffff) > 0x7f800000) return {uint16_t((u >> 16) | 0x40)};
  return {uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16)};
#endif
}
inline SP_HOST_DEVICE Float16 to_float16(float x) {
#if defined(__CUDA_ARCH__)
  Float16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
#else
  const uint32_t u = bits_of(x);
  const uint32_t sign = (u >> 16) & 0x8000;
  const uint32_t a = u & 0x7fffffff;
  if (a > 0x7f800000) return {uint16_t(sign | 0x7e00 | ((a >> 13) & 0x3ff))};
  if (a >= 0x477ff000) return {uint16_t(sign | 0x7c00)};
  if (a < 0x38800000) {
    // Adding 0.5 lines the subnormal's last bit up with the last bit of a float; the FPU rounds.
    return {uint16_t(sign | (bits_of(float_of(a) + 0.5f) - 0x3f000000))};
  }
  const uint32_t odd = (a >> 13) & 1;
  return {uint16_t(sign | ((a + 0xc8000fff + odd) >> 13))};
#endif
}

template <class T>
inline SP_HOST_DEVICE T from_float(float x);
template <>
inline SP_HOST_DEVICE float from_float<float>(float x) {
  return x;
}
template <>
inline SP_HOST_DEVICE BFloat16 from_float<BFloat16>(float x) {
  return to_bfloat16(x);
}
template <>
inline SP_HOST_DEVICE Float16 from_float<Float16>(float x) {
  return to_float16(x);
}

// A float as an integer: truncated, beyond the range its nearest end, NaN 0. C leaves the last two
// undefined. 2^(bits-1) is a float where the largest integer may not be: it is compared with.
template <class To, class From>
inline SP_HOST_DEVICE To saturate(From x) {
  constexpr From kEnd = From(uint64_t{1} << (sizeof(To) * 8 - 1));
  if (x >= kEnd) return std::numeric_limits<To>::max();
  if (x < -kEnd) return std::numeric_limits<To>::min();
  return x != x ? To{0} : static_cast<To>(x);
}

// A number as an element of a dtype.
template <class T>
inline SP_HOST_DEVICE T element_of(double x) {
  if constexpr (std::is_same_v<T, double>) {
    return x;
  } else if constexpr (std::is_same_v<T, uint8_t>) {
    return static_cast<uint8_t>(std::max(0, std::min(255, saturate<int32_t>(x))));
  } else if constexpr (std::is_same_v<T, int8_t>) {
    return x != 0;
  } else if constexpr (std::is_integral_v<T>) {
    return saturate<T>(x);
  } else {
    return from_float<T>(static_cast<float>(x));
  }
}

// The type in which a dtype is computed and accumulated.
template <class T>
struct Accumulator {
  using type = float;
};
template <>
struct Accumulator<double> {
  using type = double;
};
template <class T>
using accumulator_t = typename Accumulator<T>::type;

template <class T>
struct TypeTag {
  using type = T;
};

}  // namespace surprisal
