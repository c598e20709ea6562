// Elements of any dtype on their way into a reduction: memory to shared memory by 16 bytes, shared
// memory to numbers.
#pragma once
#include "cuda/device.h"
#include "ops/reduce/plan.h"

namespace surprisal::reduce {

using namespace ::surprisal::cuda;

template <class C, class T>
__device__ inline C as_number(T x) {
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>)
    return static_cast<C>(to_float(x));
  else
    return static_cast<C>(x);
}

// Calls f(pointer of the element type) for those dtypes that are computed in C.
template <class C, class F>
__device__ inline void with_elements(const void* data, DType dtype, F f) {
  if constexpr (std::is_same_v<C, double>) {
    f(static_cast<const double*>(data));
  } else if constexpr (std::is_same_v<C, float>) {
    if (dtype == DType::f32)
      f(static_cast<const float*>(data));
    else if (dtype == DType::bf16)
      f(static_cast<const BFloat16*>(data));
    else
      f(static_cast<const Float16*>(data));
  } else {
    if (dtype == DType::i32)
      f(static_cast<const int32_t*>(data));
    else if (dtype == DType::i64)
      f(static_cast<const int64_t*>(data));
    else if (dtype == DType::u8)
      f(static_cast<const uint8_t*>(data));
    else
      f(static_cast<const int8_t*>(data));
  }
}

// Bytes [from, from + bytes) of global memory to `tile`, 16 at a time: `tile` starts at the
// multiple of 16 below `from`. At the ends, which share 16 bytes with others, elements of E.
template <class E>
__device__ inline void stage(const unsigned char* from, int bytes, unsigned char* tile) {
  using Vector = Pack<uint32_t, 4>;
  constexpr int kUnroll = kTileBytes / 16 / kThreads;
  const int skew = static_cast<int>(reinterpret_cast<uintptr_t>(from) % 16);
  const int end = skew + bytes;
  const unsigned char* base = from - skew;
  const auto whole = [&](int i) { return i >= skew && i + 16 <= end; };
  const int first = 16 * thread_index();
  Vector v[kUnroll];
#pragma unroll
  for (int k = 0; k < kUnroll; ++k) {
    const int i = first + k * 16 * kThreads;
    if (whole(i)) v[k] = load_once(reinterpret_cast<const Vector*>(base + i));
  }
#pragma unroll
  for (int k = 0; k < kUnroll; ++k) {
    const int i = first + k * 16 * kThreads;
    if (whole(i)) store(reinterpret_cast<Vector*>(tile + i), v[k]);
  }
  // The head is in the first vector; the tail in the last, which may be one beyond the unrolled.
  const int tail = end / 16 * 16;
  const auto piece = [&](int i, int stop) {
    for (; i < stop; i += sizeof(E))
      store(reinterpret_cast<E*>(tile + i), load(reinterpret_cast<const E*>(base + i)));
  };
  if (thread_index() == 0 && skew) piece(skew, end < 16 ? end : 16);
  if (thread_index() == 32 && (tail > 0 || skew == 0)) piece(tail, end);
}
__device__ inline void stage(const unsigned char* from, int count, int size, unsigned char* tile) {
  if (size == 4)
    stage<uint32_t>(from, count * size, tile);
  else if (size == 2)
    stage<uint16_t>(from, count * size, tile);
  else if (size == 8)
    stage<uint64_t>(from, count * size, tile);
  else
    stage<uint8_t>(from, count * size, tile);
}

}  // namespace surprisal::reduce
