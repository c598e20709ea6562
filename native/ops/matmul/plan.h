// Launch decisions of the CUDA matrix products.
//
// What a row's bits may depend on: never on the tile, because every sum runs over k in order. Sums
// that are cut into parts are added part by part in order; how many parts depends on n and k
// alone, so a row of A·B has the same bits in any batch. Where A is transposed the sum itself runs
// over the batch (weight gradients), and parts may depend on everything.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace surprisal::matmul {

struct Problem {
  DType dtype = DType::f32;
  int64_t m = 0, n = 0, k = 0, batch = 1;
  bool transpose_a = false;
  int processors = 1;
};

struct Plan {
  bool tensor_cores = false;
  int tile = 128;                 // rows and columns of a block's tile
  int64_t parts = 1;              // of the sum over k
  int64_t part = 0;               // length of one, a multiple of kPartStep
  int64_t rows = 0, columns = 0;  // in tiles
  int64_t blocks = 0;
};

constexpr int64_t kPartStep = 64;      // steps of all kernels divide it
constexpr int64_t kNarrow = 64;        // outputs with no more columns are cut into parts ...
constexpr int64_t kNarrowPart = 4096;  // ... of this length: their sums cost no traffic to speak of
constexpr int64_t kLeastPart = 1024;   // of a weight gradient
constexpr int64_t kMostParts = 64;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

constexpr Plan plan_matmul(const Problem& p) {
  Plan plan;
  plan.tensor_cores = p.dtype == DType::bf16 || p.dtype == DType::f16;
  const auto tiles = [&](int tile) { return ceil_div(p.m, tile) * ceil_div(p.n, tile) * p.batch; };
  if (!p.transpose_a) {
    if (p.n <= kNarrow) plan.parts = least(ceil_div(p.k, kNarrowPart), kMostParts);
  } else if (tiles(128) > 0 && tiles(128) < p.processors) {
    const int64_t wanted = p.processors / tiles(128);
    plan.parts = least(least(wanted, p.k / kLeastPart), kMostParts);
  }
  if (plan.parts < 1) plan.parts = 1;
  plan.part = ceil_div(ceil_div(p.k, plan.parts), kPartStep) * kPartStep;
  plan.parts = plan.part > 0 ? ceil_div(p.k, plan.part) : 1;
  // Large tiles read less; small ones waste less and give more blocks to few processors.
  const bool large = p.m > 64 && p.n > 64 && tiles(128) * plan.parts >= p.processors;
  plan.tile = large && p.dtype != DType::f64 ? 128 : 64;
  plan.rows = ceil_div(p.m, plan.tile);
  plan.columns = ceil_div(p.n, plan.tile);
  plan.blocks = plan.rows * plan.columns * p.batch * plan.parts;
  return plan;
}

}  // namespace surprisal::matmul
