// What kernels for sm_80 get on sm_75, which copies nothing in the background and has no tensor
// cores for bfloat16: right results, at no speed worth naming.
#pragma once

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
namespace surprisal::cuda {

__device__ inline void copy_async16(void* to, const void* from, bool valid) {
  const uint4 zeros = {0, 0, 0, 0};
  *static_cast<uint4*>(to) = valid ? *static_cast<const uint4*>(from) : zeros;
}
__device__ inline void copy_async_commit() {}
template <int N>
__device__ inline void copy_async_wait() {}

// One of the two 16-bit floats of a register.
template <class T>
__device__ inline float half_of(uint32_t pair, int which) {
  return to_float(T{static_cast<uint16_t>(pair >> (16 * which))});
}

// mma.m16n8k16 by exchange: lane 4g + t holds rows g and g + 8 of a, column g of b, at k = 2t and
// 2t + 8, and columns 2t, 2t + 1 of d.
template <class T>
__device__ inline void multiply_tiles(float (&d)[4], const uint32_t (&a)[4],
                                      const uint32_t (&b)[2]) {
  const int lane = lane_index(), row = lane & ~3, column = 8 * (lane & 3);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      const uint32_t x[2] = {shuffle(a[2 * half], row + t), shuffle(a[2 * half + 1], row + t)};
      const uint32_t y[2] = {shuffle(b[half], column + t), shuffle(b[half], column + 4 + t)};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        d[i] = fmaf(half_of<T>(x[i / 2], 0), half_of<T>(y[i % 2], 0), d[i]);
        d[i] = fmaf(half_of<T>(x[i / 2], 1), half_of<T>(y[i % 2], 1), d[i]);
      }
    }
  }
}

}  // namespace surprisal::cuda
#endif
