// Launch decisions of kernels on cuda/gemm_sm90.h's main loop, from sizes alone: persistent grids
// of large or small tiles. Needs no device.
#pragma once
#include <algorithm>
#include <cstdint>

namespace surprisal::cuda::gemm {

constexpr int kWideLargeM = 256, kWideLargeN = 256;  // of a cluster of two blocks
constexpr int kWideSmallM = 64, kWideSmallN = 128;   // of a block, two of them a processor

// Coordinates of boxes are ints, and tiles hang over the end.
constexpr int64_t kMostLines = (int64_t{1} << 31) - 1024;

// Large tiles read less; small ones waste less and give more blocks to few processors. `clusters`
// of large tiles are there to multiply: they keep half of the processors busy, or more.
constexpr bool wants_large(int64_t m, int64_t n, int64_t clusters, int processors) {
  return m > kWideLargeM / 2 && n > kWideSmallN && 4 * clusters >= processors;
}

// Blocks that take `units` tiles of clusters in turns.
constexpr int64_t persistent_blocks(bool large, int64_t units, int processors) {
  const int64_t resident = std::max(1, processors / 2 * (large ? 1 : 4));
  return std::min(units, resident) * (large ? 2 : 1);
}

}  // namespace surprisal::cuda::gemm
