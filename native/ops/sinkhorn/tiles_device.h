// Tiles of products on tensor cores: 128 points of one side by 32 of the other, 32 features a step,
// by mma.sync; products_device.h says what the halves are. A point's step is a line of 128 bytes in
// shared memory, its chunks permuted as in cuda/gemm.h: of 16 features h, then their l, then the
// same of the 16 others.
#pragma once
#include "cuda/gemm.h"
#include "ops/sinkhorn/plan.h"

namespace surprisal::sinkhorn {

constexpr int kGroup = 128;  // threads
constexpr int kGroupWarps = kGroup / cuda::kWarp;
constexpr int kGroups = kProductThreads / kGroup;
constexpr int kStages = 4, kAhead = kStages - 1;
constexpr int kStepHalves = 2 * static_cast<int>(kProductDepth);  // of a row

// What cuda/gemm.h reads fragments with.
struct ProductTile {
  static constexpr int kM = kProductRows, kN = kProductColumns, kK = kStepHalves;
  static constexpr int kThreads = kGroup;
};
using RowTiles = cuda::gemm::Side<Float16, ProductTile, ProductTile::kM, cuda::gemm::Major::k>;
using ColumnTiles = cuda::gemm::Side<Float16, ProductTile, ProductTile::kN, cuda::gemm::Major::k>;
constexpr int kRowBytes = RowTiles::Memory::kBytes, kColumnBytes = ColumnTiles::Memory::kBytes;

// A tile's sums by mma.sync: a warp has 32 rows. More would take registers that there are not.
class TileProduct {
 public:
  static constexpr int kRows = 4, kPairs = 4;  // of a thread: rows, and pairs of columns in each

  __device__ static int warp() { return cuda::warp_index() % kGroupWarps; }
  __device__ static int row(int r) {
    return warp() * 32 + r / 2 * 16 + r % 2 * 8 + cuda::lane_index() / 4;
  }
  __device__ static int column(int c) { return c * 8 + cuda::lane_index() % 4 * 2; }
  __device__ float at(int r, int c, int e) const { return sums_[r / 2][c][r % 2 * 2 + e]; }

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) sums_[i][j][e] = 0;
  }
  // The small products of a step have sums of their own, of four tiles at a time.
  __device__ void add(const unsigned char* rows, const unsigned char* columns, bool split) {
#pragma unroll
    for (int k = 0; k < kStepHalves; k += 32) {
      uint32_t high[2][4], low[2][4];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        ColumnTiles::read<false>(high[j], columns, 16 * j, k);
        if (split) ColumnTiles::read<false>(low[j], columns, 16 * j, k + 16);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        uint32_t x[4];
        RowTiles::read<true>(x, rows, warp() * 32 + 16 * i, k);
        multiply(sums_[i], x, high);
        if (!split) continue;
        float small[4][4] = {};
        multiply(small, x, low);
        RowTiles::read<true>(x, rows, warp() * 32 + 16 * i, k + 16);
        multiply(small, x, high);
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
          for (int e = 0; e < 4; ++e) sums_[i][j][e] += small[j][e];
      }
    }
  }

 private:
  __device__ static void multiply(float (&sums)[4][4], const uint32_t (&x)[4],
                                  const uint32_t (&y)[2][4]) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const uint32_t pair[2] = {y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]};
      cuda::multiply_tiles<Float16>(sums[j], x, pair);
    }
  }

  float sums_[2][4][4];
};

}  // namespace surprisal::sinkhorn
