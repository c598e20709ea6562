// One number of every thread of a block becomes one that all of them get, by a tree that the
// block's size fixes.
#pragma once
#include "cuda/device.h"

namespace surprisal::cuda {

constexpr int kBlockWarps = 32;  // of a block, at most: as many T of shared memory

// merge(a, b) gives the same bits as merge(b, a).
template <class T, class Merge>
__device__ inline T over_block(T x, T* memory, Merge merge) {
#pragma unroll
  for (int mask = 1; mask < kWarp; mask *= 2) x = merge(x, shuffle_xor(x, mask));
  if (lane_index() == 0) store(memory + warp_index(), x);
  sync_threads();  // each warp's is there
  x = load(memory);
  for (int w = 1; w < block_size() / kWarp; ++w) x = merge(x, load(memory + w));
  sync_threads();  // before they are written again
  return x;
}
template <class T>
__device__ inline T sum_over_block(T x, T* memory) {
  return over_block(x, memory, [](T a, T b) { return a + b; });
}
// A NaN is larger than every number.
template <class T>
__device__ inline T max_over_block(T x, T* memory) {
  return over_block(x, memory, [](T a, T b) { return b > a || b != b ? b : a; });
}

}  // namespace surprisal::cuda
