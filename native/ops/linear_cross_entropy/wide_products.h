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
  const auto kept = [&](int row) { return KeptSteps{p.classes.of(row / kBlocksOf<Tile>)}; };
  const auto produce = [&](auto& memory, auto& place) {
    turns.each([&](int row, int column) {
      gemm::fetch_steps<Tile, Major::k, Major::mn>(
          memory, {&w.dz, 0}, {&w.weight, static_cast<int>(p.column)}, place, row,
          column * Tile::kN, static_cast<int>(p.columns), kept(row));
    });
  };
  const auto consume = [&](auto& memory, auto& place, int consumer) {
    turns.each([&](int row, int column) {
      WideFragment<Tile> f;
      load_sums(f, p, row, column * Tile::kN);
      const int steps = static_cast<int>(kept(row).steps(p.columns, Tile::kK));
      if (steps > 0)
        gemm::multiply_steps<T, Tile, Major::k, Major::mn, true>(f.sums, memory, place, consumer,
                                                                 steps);
      store_sums(f, p, row, column * Tile::kN);
    });
  };
  gemm::share_ring<Tile>(produce, consume);
#endif
}

// take(a, b, d): sums of neighbouring features, d the first, of slot s; `first` the thread's first.
template <class F, class Take>
__device__ inline void each_pair_of_row(F& f, int s, int64_t first, int64_t width, Take&& take) {
#pragma unroll
  for (int j = 0; j < F::kPairs; ++j)
    if (first + 8 * j < width) take(f.at(s, j, 0), f.at(s, j, 1), first + 8 * j);
}

// Added to a row of the caller's memory, which begins at any float. All loads of a group before its
// stores: they might be of the same memory, for all that a compiler knows.
template <class F>
__device__ inline void add_row(F& f, int s, int64_t first, int64_t width, float* to) {
  constexpr int kGroup = 4;
  using Pair = Pack<float, 2>;
  const bool together = reinterpret_cast<uintptr_t>(to) % sizeof(Pair) == 0;
#pragma unroll
  for (int g = 0; g < F::kPairs; g += kGroup) {
    Pair sum[kGroup]{};
#pragma unroll
    for (int j = 0; j < kGroup; ++j) {
      const int64_t d = first + 8 * (g + j);
      if (d >= width) continue;
      sum[j] = together ? load(reinterpret_cast<const Pair*>(to + d))
                        : Pair{{load(to + d), load(to + d + 1)}};
      sum[j].at[0] += f.at(s, g + j, 0);
      sum[j].at[1] += f.at(s, g + j, 1);
    }
#pragma unroll
    for (int j = 0; j < kGroup; ++j) {
      const int64_t d = first + 8 * (g + j);
      if (d >= width) continue;
      if (together) {
        store(reinterpret_cast<Pair*>(to + d), sum[j]);
      } else {
        store(to + d, sum[j].at[0]);
        store(to + d + 1, sum[j].at[1]);
      }
    }
  }
}

// WeightRow::put of all that a thread has of its rows, whose targets are gone through once; rows of
// whole 16 bytes, written so. All lanes of a warp take part.
template <class T, class F>
__device__ inline void put_wide_weights(F& f, const ProductW& p, int64_t row, int64_t column) {
  constexpr int kGroup = 4;
  using Pair = Pack<float, 2>;
#pragma unroll
  for (int s = 0; s < F::kSlots; ++s) {
    const int64_t r = row + F::row(s), first = column + F::column();
    const int64_t width = r < p.columns ? p.width : 0;
    const WeightRow<T> weights(p, r);
    float* const sums = static_cast<float*>(p.sums) + r * p.width;
    const auto each = [&](auto&& take) { each_pair_of_row(f, s, first, width, take); };
    weights.each_sum([&](const float* from) {
      each([&](float& a, float& b, int64_t d) {
        const Pair more = load(reinterpret_cast<const Pair*>(from + d));
        a += more.at[0];
        b += more.at[1];
      });
    });
    if (!p.last && !p.add) {
      each([&](float& a, float& b, int64_t d) {
        store(reinterpret_cast<Pair*>(sums + d), Pair{{a, b}});
      });
      continue;
    }
    each([&](float& a, float& b, int64_t) {
      a *= weights.scale;
      b *= weights.scale;
    });
    weights.each_target([&](float dz, const T* x) {
      each([&](float& a, float& b, int64_t d) {
        a += dz * to_float(load(x + d));
        b += dz * to_float(load(x + d + 1));
      });
    });
    if (p.add) {
      add_row(f, s, first, width, static_cast<float*>(p.out) + r * p.width);
      continue;
    }
#pragma unroll
    for (int g = 0; g < F::kPairs; g += kGroup) {
      float x[2 * kGroup];
#pragma unroll
      for (int e = 0; e < 2 * kGroup; ++e) x[e] = f.at(s, g + e / 2, e % 2);
      const int64_t d = column + 8 * (g + lane_index() % 4);
      store_quad(static_cast<T*>(p.out) + r * p.width + d, x, d < width);
    }
  }
}

template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    linear_product_w_wide_kernel(const __grid_constant__ WideProductW w) {
#if defined(SP_WGMMA)
  const ProductW& p = w.p;
  const int64_t live = p.wave.live();
  const Turns<Tile> turns{ceil_div(p.columns, Turns<Tile>::kRows), ceil_div(p.width, Tile::kN)};
  const auto kept = [&](int row) { return KeptSteps{p.rows.of(row / kBlocksOf<Tile>)}; };
  const auto produce = [&](auto& memory, auto& place) {
    turns.each([&](int row, int column) {
      gemm::fetch_steps<Tile, Major::mn, Major::mn>(memory, {&w.dz, 0}, {&w.x, 0}, place, row,
                                                    column * Tile::kN, static_cast<int>(live),
                                                    kept(row));
    });
  };
  const auto consume = [&](auto& memory, auto& place, int consumer) {
    turns.each([&](int row, int column) {
      WideFragment<Tile> f;
      f.clear();
      const int steps = static_cast<int>(kept(row).steps(live, Tile::kK));
      if (steps > 0)
        gemm::multiply_steps<T, Tile, Major::mn, Major::mn, true>(f.sums, memory, place, consumer,
                                                                  steps);
      put_wide_weights<T>(f, p, row, column * Tile::kN);
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
  require(p.add || reinterpret_cast<uintptr_t>(p.out) % 16 == 0, "dW: rows of whole 16 bytes");
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
