// Launch decisions of the CUDA matrix products.
//
// What a row's bits may depend on: never on the tile, because every sum runs over k in order. Sums
// that are cut into parts are added part by part in order; how many parts depends on n and k
// alone, so a row of A·B has the same bits in any batch. Where A is transposed the sum itself runs
// over the batch (weight gradients), and parts may depend on everything. Whether wgmma or mma.sync
// multiplies follows from the device, the dtype, the sizes of rows and addresses.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/dtype.h"
#include "cuda/wide_plan.h"

namespace surprisal::matmul {

namespace gemm = cuda::gemm;

struct Problem {
  DType dtype = DType::f32;
  int64_t m = 0, n = 0, k = 0, batch = 1;
  bool transpose_a = false;
  int processors = 1;
  bool wide = false;  // wgmma can be had, and the copy engine can fetch both operands
};

enum class Kernel : int32_t { plain, tensor_cores, warpgroups };

struct Plan {
  Kernel kernel = Kernel::plain;
  int tile_m = 64, tile_n = 64;   // of a block
  int64_t parts = 1;              // of the sum over k
  int64_t part = 0;               // length of one, a multiple of kPartStep
  int64_t rows = 0, columns = 0;  // in tiles
  int64_t blocks = 0;             // of the grid; warpgroups take tiles in turns
};

constexpr int64_t kPartStep = 64;      // steps of all kernels divide it
constexpr int64_t kNarrow = 64;        // outputs with no more columns are cut into parts ...
constexpr int64_t kNarrowPart = 4096;  // ... of this length: adding them up is hardly any traffic
constexpr int64_t kLeastPart = 1024;   // of a weight gradient
constexpr int64_t kMostParts = 64;
constexpr int kLargeTile = 128, kSmallTile = 64;  // squares

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

constexpr Plan plan_matmul(const Problem& p) {
  Plan plan;
  if (p.dtype == DType::bf16 || p.dtype == DType::f16) plan.kernel = Kernel::tensor_cores;
  const int64_t large = ceil_div(p.m, kLargeTile) * ceil_div(p.n, kLargeTile) * p.batch;
  int64_t parts = 1;
  if (!p.transpose_a) {
    if (p.n <= kNarrow) parts = ceil_div(p.k, kNarrowPart);
  } else if (large > 0) {
    parts = std::min(p.processors / large, p.k / kLeastPart);
  }
  parts = std::max<int64_t>(1, std::min(parts, kMostParts));
  plan.part = ceil_div(ceil_div(p.k, parts), kPartStep) * kPartStep;
  plan.parts = plan.part > 0 ? ceil_div(p.k, plan.part) : 1;
  // Large tiles read less; small ones waste less and give more blocks to few processors.
  if (p.wide && plan.kernel == Kernel::tensor_cores) {
    plan.kernel = Kernel::warpgroups;
    const int64_t clusters =
        ceil_div(p.m, gemm::kWideLargeM) * ceil_div(p.n, gemm::kWideLargeN) * p.batch;
    const bool whole = gemm::wants_large(p.m, p.n, clusters * plan.parts, p.processors);
    plan.tile_m = whole ? gemm::kWideLargeM : gemm::kWideSmallM;
    plan.tile_n = whole ? gemm::kWideLargeN : gemm::kWideSmallN;
  } else if (p.dtype != DType::f64 && p.m > kSmallTile && p.n > kSmallTile &&
             large * plan.parts >= p.processors) {
    plan.tile_m = plan.tile_n = kLargeTile;
  }
  plan.rows = ceil_div(p.m, plan.tile_m);
  plan.columns = ceil_div(p.n, plan.tile_n);
  plan.blocks = plan.rows * plan.columns * p.batch * plan.parts;
  if (plan.kernel == Kernel::warpgroups)
    plan.blocks =
        gemm::persistent_blocks(plan.tile_n == gemm::kWideLargeN, plan.blocks, p.processors);
  return plan;
}

}  // namespace surprisal::matmul
