// Elements of any dtype as the type they are computed in (float, double or int64_t), N at a time,
// and back. The dtype is a run-time value, the same for the whole grid, so that a kernel is
// compiled once per compute type: the switch costs a few instructions a pack, which memory-bound
// kernels have to spare. Addresses are multiples of a pack's size, of 16 bytes at most. Conversions
// are those of ops/cast/op.h; a NaN stays one, with whatever payload the GPU gives it.
#pragma once
#include "cuda/device.h"

namespace surprisal::cuda {

template <class T>
constexpr bool is_16bit = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;

template <class C, class T>
__device__ inline C widened(T x) {
  if constexpr (is_16bit<T>) {
    return static_cast<C>(to_float(x));
  } else {
    return static_cast<C>(x);
  }
}

// int8_t is bool's storage.
template <class T, class C>
__device__ inline T narrowed(C x) {
  if constexpr (std::is_same_v<T, int8_t>) {
    return x != 0;
  } else if constexpr (is_16bit<T>) {
    return from_float<T>(static_cast<float>(x));
  } else if constexpr (!std::is_integral_v<T> || std::is_same_v<C, int64_t>) {
    return static_cast<T>(x);
  } else if constexpr (std::is_same_v<T, uint8_t>) {
    const int32_t y = saturate<int32_t>(x);
    return static_cast<uint8_t>(y < 0 ? 0 : y > 255 ? 255 : y);
  } else {
    return saturate<T>(x);
  }
}

// How many of N elements one access moves.
template <class T, int N>
constexpr int kTogether = N < kPack<T> ? N : kPack<T>;

template <class C, class T, int N>
__device__ inline void load_elements(const T* from, C (&to)[N]) {
  constexpr int kPart = kTogether<T, N>;
#pragma unroll
  for (int i = 0; i < N; i += kPart) {
    const auto part = load(reinterpret_cast<const Pack<T, kPart>*>(from + i));
#pragma unroll
    for (int j = 0; j < kPart; ++j) to[i + j] = widened<C>(part.at[j]);
  }
}
template <class C, class T, int N>
__device__ inline void store_elements(const C (&from)[N], T* to) {
  constexpr int kPart = kTogether<T, N>;
#pragma unroll
  for (int i = 0; i < N; i += kPart) {
    Pack<T, kPart> part;
#pragma unroll
    for (int j = 0; j < kPart; ++j) part.at[j] = narrowed<T>(from[i + j]);
    store(reinterpret_cast<Pack<T, kPart>*>(to + i), part);
  }
}

// Calls f(TypeTag<T>) on the device; 16-bit floats arrive as their storage structs.
template <class F>
__device__ inline void visit_dtype(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(TypeTag<float>{});
    case DType::f64:
      return f(TypeTag<double>{});
    case DType::f16:
      return f(TypeTag<Float16>{});
    case DType::bf16:
      return f(TypeTag<BFloat16>{});
    case DType::i32:
      return f(TypeTag<int32_t>{});
    case DType::i64:
      return f(TypeTag<int64_t>{});
    case DType::u8:
      return f(TypeTag<uint8_t>{});
    case DType::boolean:
      return f(TypeTag<int8_t>{});
  }
}

// Whether 16-byte accesses may begin at `p`.
inline bool is_aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

}  // namespace surprisal::cuda
