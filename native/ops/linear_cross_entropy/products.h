// The two products of a chunk's dz by mma.sync: dx, whose sums are carried from chunk to chunk, and
// rows of dW, which end with dz of the targets. 2 N V D flop each.
#pragma once
#include "ops/linear_cross_entropy/fragments.h"
#include "ops/linear_cross_entropy/kinds.h"

namespace surprisal::linear_cross_entropy {

using namespace cuda;
using gemm::Major;
using KeptSteps = gemm::ListedSteps<kFilterColumns>;
static_assert(kFilterRows == kFilterColumns && gemm::Large::kM <= kFilterRows, "blocks of a sum");

template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    linear_product_x_kernel(ProductX p) {
#if defined(SP_LINEAR_FRAGMENTS)
  const int64_t live = p.wave.live();
  const gemm::TilePlace place(block_index(), ceil_div(p.wave.rows, Tile::kM),
                              ceil_div(p.width, Tile::kN));
  const int64_t row = place.row * Tile::kM, column = place.column * Tile::kN;
  if (row >= live) return;
  const T* weight = static_cast<const T*>(p.weight) + p.column * p.width;
  const gemm::Operand<T> dz{static_cast<const T*>(p.dz), p.stride, live, p.columns, true};
  const gemm::Operand<T> w{weight, p.width, p.width, p.columns,
                           gemm::is_packed(reinterpret_cast<uintptr_t>(weight), p.width, p.width)};
  Fragment<Tile> f;
  load_sums(f, p, row, column);
  gemm::multiply_block<T, Tile, Major::k, Major::mn>(f.sums, dz, w, row, column, 0, p.columns,
                                                     &shared<unsigned char>(),
                                                     KeptSteps{p.classes.of(row / kFilterRows)});
  store_sums(f, p, row, column);
#endif
}

template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    linear_product_w_kernel(ProductW p) {
#if defined(SP_LINEAR_FRAGMENTS)
  const int64_t live = p.wave.live();
  const gemm::TilePlace place(block_index(), ceil_div(p.columns, Tile::kM),
                              ceil_div(p.width, Tile::kN));
  const int64_t row = place.row * Tile::kM, column = place.column * Tile::kN;
  const gemm::Operand<T> dz{static_cast<const T*>(p.dz), p.stride, p.columns, live, true};
  const gemm::Operand<T> x{static_cast<const T*>(p.x), p.x_stride, p.width, live, true};
  Fragment<Tile> f;
  f.sums.clear();
  gemm::multiply_block<T, Tile, Major::mn, Major::mn>(f.sums, dz, x, row, column, 0, live,
                                                      &shared<unsigned char>(),
                                                      KeptSteps{p.rows.of(row / kFilterColumns)});
  put_weights<T>(f, p, row, column);
#endif
}

template <class T>
void product_x_by_tiles(const ProductX& p, const Tiles& tiles, Stream& stream) {
  const auto by = [&](auto tile, auto kernel) {
    using Tile = decltype(tile);
    const int64_t blocks = ceil_div(p.wave.rows, Tile::kM) * ceil_div(p.width, Tile::kN);
    launch(stream, kernel, {blocks, Tile::kThreads, Tile::kShared}, p);
  };
  tiles.large(p.wave.rows, p.width) ? by(gemm::Large{}, linear_product_x_kernel<T, gemm::Large>)
                                    : by(gemm::Small{}, linear_product_x_kernel<T, gemm::Small>);
}

template <class T>
void product_w_by_tiles(const ProductW& p, const Tiles& tiles, Stream& stream) {
  const auto by = [&](auto tile, auto kernel) {
    using Tile = decltype(tile);
    const int64_t blocks = ceil_div(p.columns, Tile::kM) * ceil_div(p.width, Tile::kN);
    launch(stream, kernel, {blocks, Tile::kThreads, Tile::kShared}, p);
  };
  tiles.large(p.columns, p.width) ? by(gemm::Large{}, linear_product_w_kernel<T, gemm::Large>)
                                  : by(gemm::Small{}, linear_product_w_kernel<T, gemm::Small>);
}

}  // namespace surprisal::linear_cross_entropy
