// The two products of a chunk's dz with wgmma: see products.h. dx: dz by rows, W by columns; dW:
// both by columns, which wgmma turns itself.
#pragma once
#include "ops/linear_cross_entropy/wide.h"

namespace surprisal::linear_cross_entropy {

struct WideProductX {
  TensorMap dz, weight;
  ProductX p;
};
struct WideProductW {
  TensorMap dz, x;
  ProductW p;
};

template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    linear_product_x_wide_kernel(const __grid_constant__ WideProductX w) {
#if defined(SP_WGMMA)
  const ProductX& p = w.p;
  const Turns<Tile> turns{ceil_div(p.wave.cleared(), Turns<Tile>::kRows),
                          ceil_div(p.width, Tile::kN)};
  const auto produce = [&](auto& memory, auto& place) {
    turns.each([&](int row, int column) {
      gemm::fetch_steps<Tile, Major::k, Major::mn>(
          memory, {&w.dz, 0}, {&w.weight, static_cast<int>(p.column)}, place, row,
          column * Tile::kN, static_cast<int>(p.columns));
    });
  };
  const auto consume = [&](auto& memory, auto& place, int consumer) {
    turns.each([&](int row, int column) {
      WideFragment<Tile> f;
      load_sums(f, p, row, column * Tile::kN);
      gemm::multiply_steps<T, Tile, Major::k, Major::mn, true>(
          f.sums, memory, place, consumer, static_cast<int>(ceil_div(p.columns, Tile::kK)));
      store_sums(f, p, row, column * Tile::kN);
    });
  };
  gemm::share_ring<Tile>(produce, consume);
#endif
}

template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    linear_product_w_wide_kernel(const __grid_constant__ WideProductW w) {
#if defined(SP_WGMMA)
  const ProductW& p = w.p;
  const int64_t live = p.wave.live();
  const int steps = static_cast<int>(ceil_div(live, Tile::kK));
  const Turns<Tile> turns{ceil_div(p.columns, Turns<Tile>::kRows), ceil_div(p.width, Tile::kN)};
  const auto produce = [&](auto& memory, auto& place) {
    turns.each([&](int row, int column) {
      gemm::fetch_steps<Tile, Major::mn, Major::mn>(memory, {&w.dz, 0}, {&w.x, 0}, place, row,
                                                    column * Tile::kN, static_cast<int>(live));
    });
  };
  const auto consume = [&](auto& memory, auto& place, int consumer) {
    turns.each([&](int row, int column) {
      WideFragment<Tile> f;
      if (steps > 0) {
        gemm::multiply_steps<T, Tile, Major::mn, Major::mn>(f.sums, memory, place, consumer, steps);
      } else {
        f.clear();
      }
      put_weights<T>(f, p, row, column * Tile::kN);
    });
  };
  gemm::share_ring<Tile>(produce, consume);
#endif
}

template <class T>
void product_x_by_warpgroups(const ProductX& p, const Tiles& tiles, Stream& stream) {
  const int64_t classes = p.column + p.columns;
  const auto by = [&](auto tile, auto kernel) {
    using Tile = decltype(tile);
    launch(
        stream, kernel, wide_shape<Tile>(p.wave.rows, ceil_div(p.width, Tile::kN), tiles),
        WideProductX{lines_of<T>(p.dz, p.wave.rows, p.columns, p.stride, Major::k, Tile::kM),
                     lines_of<T>(p.weight, classes, p.width, p.width, Major::mn, kShare<Tile>), p});
  };
  tiles.wide_large(p.wave.rows, p.width)
      ? by(WideLarge{}, linear_product_x_wide_kernel<T, WideLarge>)
      : by(WideSmall{}, linear_product_x_wide_kernel<T, WideSmall>);
}

template <class T>
void product_w_by_warpgroups(const ProductW& p, const Tiles& tiles, Stream& stream) {
  const auto by = [&](auto tile, auto kernel) {
    using Tile = decltype(tile);
    launch(stream, kernel, wide_shape<Tile>(p.columns, ceil_div(p.width, Tile::kN), tiles),
           WideProductW{lines_of<T>(p.dz, p.wave.rows, p.columns, p.stride, Major::mn, Tile::kM),
                        lines_of<T>(p.x, p.wave.rows, p.width, p.x_stride, Major::mn, kShare<Tile>),
                        p});
  };
  tiles.wide_large(p.columns, p.width)
      ? by(WideLarge{}, linear_product_w_wide_kernel<T, WideLarge>)
      : by(WideSmall{}, linear_product_w_wide_kernel<T, WideSmall>);
}

}  // namespace surprisal::linear_cross_entropy
