// Sums over a block of 256 threads in a fixed tree.
#pragma once
#include "ops/sinkhorn/device.h"

namespace surprisal::sinkhorn {

constexpr int kThreads = 256;

struct Sums {
  double warp[kThreads / cuda::kWarp];
  double least[kThreads], most[kThreads], sum[kThreads];
};

// Every thread gets the sum, whose order is fixed.
__device__ inline double block_sum(double x, Sums& memory) {
  x = cuda::warp_sum(x);
  cuda::sync_threads();  // the sum before has been read
  if (cuda::lane_index() == 0) cuda::store(memory.warp + cuda::warp_index(), x);
  cuda::sync_threads();  // the warps' sums are there
  double sum = 0;
  for (int w = 0; w < kThreads / cuda::kWarp; ++w) sum += cuda::load(memory.warp + w);
  return sum;
}
__device__ inline double block_most(double x, Sums& memory) {
  x = cuda::warp_max(x);
  cuda::sync_threads();  // what was there before has been read
  if (cuda::lane_index() == 0) cuda::store(memory.warp + cuda::warp_index(), x);
  cuda::sync_threads();  // the warps' are there
  double most = cuda::load(memory.warp);
  for (int w = 1; w < kThreads / cuda::kWarp; ++w) {
    const double y = cuda::load(memory.warp + w);
    most = y > most ? y : most;
  }
  return most;
}

}  // namespace surprisal::sinkhorn
