// What the kernels with wgmma share (cuda/gemm_sm90.h): the sums of a thread, the tiles of a
// persistent cluster in their turn, and the operands as the copy engine sees them. Tiles of both
// sizes give a thread the same columns of a row in the same order, so that its bits are the same.
// Rows are those of whole steps of kClearedRows: zeros where no row is left.
#pragma once
#include "cuda/gemm_sm90.h"
#include "ops/linear_cross_entropy/fragments.h"
#include "ops/linear_cross_entropy/kinds.h"

namespace surprisal::linear_cross_entropy {

using namespace cuda;
using gemm::Major;
using gemm::WideLarge;
using gemm::WideSmall;

static_assert(kClearedRows % gemm::kWideLargeM == 0 && kSpanStep % gemm::kWideLargeN == 0,
              "whole tiles");

// See Fragment: rows are those of the block's tile.
template <class Tile>
struct WideFragment {
  static constexpr int kSlots = 2, kPairs = Tile::kN / 8;
  float sums[Tile::kN / 2];

  __device__ float& at(int slot, int pair, int e) { return sums[4 * pair + 2 * slot + e]; }
  __device__ static int row(int slot) {
    const int consumer = thread_index() / Tile::kGroup - 1;
    return consumer * 64 + warp_index() % 4 * 16 + lane_index() / 4 + 8 * slot;
  }
  __device__ static int column() { return lane_index() % 4 * 2; }
  __device__ void clear() {
#pragma unroll
    for (float& sum : sums) sum = 0;
  }
};

#if defined(SP_WGMMA)
// The tiles of (rows, columns) that fall to this block's cluster, down bands of rows.
template <class Tile>
struct Turns {
  static constexpr int kRows = Tile::kM * Tile::kCluster;
  int64_t rows, columns;

  // Calls f(first row of the block's tile, column in tiles).
  template <class F>
  __device__ void each(F&& f) const {
    each(nullptr, f);
  }
  // Of those tiles that are listed: how many, then which; without a list of all.
  template <class F>
  __device__ void each(const int32_t* list, F&& f) const {
    int rank = 0;
    if constexpr (Tile::kCluster > 1) rank = cluster_rank();
    const int64_t clusters = grid_size() / Tile::kCluster;
    const int64_t units = list ? int64_t{load(list)} : rows * columns;
    for (int64_t unit = block_index() / Tile::kCluster; unit < units; unit += clusters) {
      const gemm::TilePlace place(list ? load(list + 1 + unit) : unit, rows, columns);
      f(static_cast<int>(place.row * kRows) + rank * Tile::kM, static_cast<int>(place.column));
    }
  }
};
#endif

// Lines of `width` 16-bit elements, `stride` from one to the next, in boxes of the operand.
template <class T>
TensorMap lines_of(const void* data, int64_t lines, int64_t width, int64_t stride, Major major,
                   int rows) {
  return tensor_map(data, DTypeOf<T>::value, lines, width, stride, gemm::box_rows(major, rows));
}
// Rows of the lists of a filter: blocks of it, or a cluster's rows where those are more.
template <class Tile>
constexpr int kBlocksOf = Tile::kM * Tile::kCluster > kFilterRows ? Tile::kM* Tile::kCluster
                                                                  : static_cast<int>(kFilterRows);
using KeptSteps = gemm::ListedSteps<kFilterRows>;
template <class Tile>
constexpr int kShare = Tile::kN / Tile::kCluster;  // columns that a block fetches

template <class Tile>
Shape wide_shape(int64_t m, int64_t columns, const Tiles& tiles) {
  constexpr bool kLarge = Tile::kCluster > 1;
  const int64_t units = ceil_div(m, Tile::kM * Tile::kCluster) * columns;
  return {gemm::persistent_blocks(kLarge, units, tiles.processors), Tile::kThreads,
          sizeof(typename Tile::Memory), Tile::kCluster};
}

}  // namespace surprisal::linear_cross_entropy
