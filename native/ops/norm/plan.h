// Which CUDA kernels take a normalisation, and how they are launched. Rows (y, dx): a function of
// the width, the dtype and the device. Weight gradients: rows are cut into chunks, whose size
// depends on N alone. Checked by test/ops/norm-plan.test.ts.
#pragma once
#include "cuda/row_hold_plan.h"

namespace surprisal::norm {

constexpr int kThreads = 256;
constexpr int kTileSlots = 32;        // 16-byte slots of a block's columns: 512 bytes of a row
constexpr int64_t kChunk = 64;        // rows whose weight gradients a block sums, at least
constexpr int64_t kMostChunks = 512;  // bounds the memory of partial sums
constexpr int kCombineLanes = 8;      // threads that add up the chunks of a column

constexpr int kFused = 16;            // columns a thread keeps where dx is made in the same pass
constexpr int64_t kLeastFused = 256;  // columns that are worth it
constexpr int64_t kFusedChunk = 32;   // rows of a block then, at least
constexpr int64_t kMostFusedChunks = 1024;

struct WeightPlan {
  int team = 0;                   // threads a row where dx is made in the same pass; 0: it is not
  int64_t chunk = 0, chunks = 0;  // of rows
  int64_t tiles = 0;              // of columns
  int64_t blocks = 0, combine_blocks = 0;
};

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// `fused`: dx is wanted too. Never by where the matrices lie: the bits of dx must not tell.
constexpr WeightPlan plan_weights(int64_t rows, int64_t width, DType dtype, bool fused) {
  WeightPlan p;
  const int64_t pack = 16 / size_of(dtype);
  fused = fused && dtype != DType::f64 && rows > 0 && width % pack == 0 && width >= kLeastFused &&
          width <= kThreads * kFused;
  const int64_t least = fused ? kFusedChunk : kChunk;
  const int64_t most = ceil_div(rows, fused ? kMostFusedChunks : kMostChunks);
  p.chunk = most > least ? most : least;
  p.chunks = ceil_div(rows, p.chunk);
  p.tiles = fused ? 1 : ceil_div(width, kTileSlots * pack);
  p.blocks = p.tiles * p.chunks;
  p.combine_blocks = ceil_div(width, kThreads / kCombineLanes);
  if (fused) {
    p.team = 32;
    while (p.team * kFused < width) p.team *= 2;
  }
  return p;
}

}  // namespace surprisal::norm
