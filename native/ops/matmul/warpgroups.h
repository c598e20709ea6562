// The kernel of 16-bit products on sm_90 with wgmma: cuda/gemm_sm90.h's main loop in persistent
// clusters that walk over the tiles of all pairs and parts, one after the other.
#pragma once
#include "cuda/gemm_sm90.h"
#include "ops/matmul/epilogue.h"

namespace surprisal::matmul {

using namespace cuda;
using gemm::Major;

struct WideParameters {
  TensorMap a_map, b_map;
  Parameters p;
  int a_lines, b_lines;  // of the map from one pair to the next; 0 where pairs share the operand
};

template <class T, class Tile, Major a_major, Major b_major>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    matmul_warpgroups_kernel(const __grid_constant__ WideParameters w) {
#if defined(SP_WGMMA)
  const Parameters& p = w.p;
  int rank = 0;
  if constexpr (Tile::kCluster > 1) rank = cluster_rank();
  const int64_t clusters = grid_size() / Tile::kCluster;
  const int64_t units = p.plan.rows * p.plan.columns * p.batch * p.plan.parts;
  const int64_t first = block_index() / Tile::kCluster;
  const auto produce = [&](auto& memory, auto& place) {
    for (int64_t unit = first; unit < units; unit += clusters) {
      const Place at(p, unit);
      const gemm::BoxSource a{&w.a_map, static_cast<int>(at.pair) * w.a_lines};
      const gemm::BoxSource b{&w.b_map, static_cast<int>(at.pair) * w.b_lines};
      const int row = static_cast<int>(at.row) + rank * Tile::kM;
      for (int64_t k = at.begin; k < at.end; k += Tile::kK)
        gemm::fetch_step<Tile, a_major, b_major>(memory, a, b, place, row,
                                                 static_cast<int>(at.column), static_cast<int>(k));
    }
  };
  const auto consume = [&](auto& memory, auto& place, int consumer) {
    for (int64_t unit = first; unit < units; unit += clusters) {
      const Place at(p, unit);
      float sums[Tile::kN / 2];
      gemm::multiply_steps<T, Tile, a_major, b_major>(
          sums, memory, place, consumer,
          static_cast<int>((at.end - at.begin + Tile::kK - 1) / Tile::kK));
      const Output<T> out(p, at);
      const int64_t row =
          at.row + rank * Tile::kM + consumer * 64 + warp_index() % 4 * 16 + lane_index() / 4;
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int j = 0; j < Tile::kN / 8; j += 4) {
          float quad[4][2];
#pragma unroll
          for (int e = 0; e < 8; ++e) quad[e / 2][e % 2] = sums[4 * (j + e / 2) + 2 * half + e % 2];
          out.put(row + 8 * half, at.column + 8 * j, quad);
        }
    }
  };
  gemm::share_ring<Tile>(produce, consume);
#endif
}

template <class T, class Tile, Major a_major, Major b_major>
void launch_wide(const Parameters& p, Stream& stream) {
  constexpr int kShare = Tile::kN / Tile::kCluster;
  constexpr DType kDType = DTypeOf<T>::value;
  WideParameters w{};
  w.p = p;
  const bool a_by_k = a_major == Major::k, b_by_k = b_major == Major::k;
  const int64_t a_lines = a_by_k ? p.m : p.k, b_lines = b_by_k ? p.n : p.k;
  w.a_lines = p.a_starts.step == 0 ? 0 : static_cast<int>(a_lines);
  w.b_lines = p.b_starts.step == 0 ? 0 : static_cast<int>(b_lines);
  const int64_t a_width = a_by_k ? p.k : p.m, b_width = b_by_k ? p.k : p.n;
  w.a_map = tensor_map(p.a, kDType, w.a_lines ? a_lines * p.batch : a_lines, a_width, a_width,
                       gemm::box_rows(a_major, Tile::kM));
  w.b_map = tensor_map(p.b, kDType, w.b_lines ? b_lines * p.batch : b_lines, b_width, b_width,
                       gemm::box_rows(b_major, kShare));
  launch(stream, matmul_warpgroups_kernel<T, Tile, a_major, b_major>,
         {p.plan.blocks, Tile::kThreads, sizeof(typename Tile::Memory), Tile::kCluster}, w);
}

template <class T, class Tile>
void launch_major(const Parameters& p, Stream& stream) {
  if (p.transpose_a) {
    return p.transpose_b ? launch_wide<T, Tile, Major::mn, Major::k>(p, stream)
                         : launch_wide<T, Tile, Major::mn, Major::mn>(p, stream);
  }
  return p.transpose_b ? launch_wide<T, Tile, Major::k, Major::k>(p, stream)
                       : launch_wide<T, Tile, Major::k, Major::mn>(p, stream);
}

template <class T>
void warpgroups(const Parameters& p, Stream& stream) {
  if (p.plan.tile_n == gemm::WideLarge::kN) return launch_major<T, gemm::WideLarge>(p, stream);
  return launch_major<T, gemm::WideSmall>(p, stream);
}

}  // namespace surprisal::matmul
