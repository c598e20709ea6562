// States and slopes with wgmma: z by tiles of 128 x 256 a block, folded in registers. A cluster
// multiplies a span after the other; copies of the next tile run on under the fold of the last, and
// one warpgroup's fold under the other's products. 2 N V D flop each.
#pragma once
#include "ops/linear_cross_entropy/wide.h"

namespace surprisal::linear_cross_entropy {

template <class Work>
struct WideLogits {
  TensorMap x, weight;
  Work work;
};

// kPlain: no cap and no extras; kStore: no extras, and what backward can use is kept.
template <class T, class Tile, bool kPlain, bool kStore>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    linear_states_wide_kernel(const __grid_constant__ WideLogits<StatesWork> w) {
#if defined(SP_WGMMA)
  const StatesWork& work = w.work;
  const int64_t live = work.z.wave.live();
  const int width = static_cast<int>(work.z.width), steps = (width + Tile::kK - 1) / Tile::kK;
  const Turns<Tile> turns{ceil_div(live, Turns<Tile>::kRows), work.spans};
  const int step = static_cast<int>(work.span), classes = static_cast<int>(work.z.classes);
  const auto produce = [&](auto& memory, auto& place) {
    turns.each([&](int row, int span) {
      const int begin = span * step, end = classes - begin < step ? classes : begin + step;
      for (int column = begin; column < end; column += Tile::kN)
        gemm::fetch_steps<Tile, Major::k, Major::k>(memory, {&w.x, 0}, {&w.weight, 0}, place, row,
                                                    column, width);
    });
  };
  const auto consume = [&](auto& memory, auto& place, int consumer) {
    using F = WideFragment<Tile>;
    constexpr Cap kCap = kPlain ? Cap::none : kStore ? Cap::some : Cap::unknown;
    turns.each([&](int row, int span) {
      const int begin = span * step, end = classes - begin < step ? classes : begin + step;
      TileRow rows[F::kSlots];
      float weights = 0;
      int32_t targets[F::kSlots];
#pragma unroll
      for (int s = 0; s < F::kSlots; ++s) {
        const int n = row + F::row(s);
        targets[s] = n < live ? load(work.z.target + n) : -1;
      }
      for (int column = begin; column < end; column += Tile::kN) {
        F f;
        gemm::multiply_steps<T, Tile, Major::k, Major::k>(f.sums, memory, place, consumer, steps);
        const auto target = [&](int slot) { return targets[slot]; };
        add_states<T, kPlain || kStore, kCap>(f, rows, work, target, row, column, begin, &weights);
        if constexpr (kStore) {
          if (row < work.stored.rows) put_exponentials<T, kCap>(f, rows, work, target, row, column);
        }
        if (work.tile_sums) {
          fold_tile_sums<T, kCap>(f, work, target, column,
                                  [&](int slot, int part, TileSums<float> sums) {
                                    const int n = row + F::row(slot);
                                    const int at = column + part * kFilterColumns;
                                    if (n < live && at < classes)
                                      store(tile_sums_at<float>(work, n, at), sums);
                                  });
        }
      }
      merge_quad(rows, work.extra, &weights);
#pragma unroll
      for (int s = 0; s < F::kSlots; ++s) {
        const int n = row + F::row(s);
        if (lane_index() % 4 > 0 || n >= live) continue;
        store(static_cast<SpanState<float>*>(work.states) + int64_t{span} * work.z.wave.rows + n,
              SpanState<float>{rows[s].max, rows[s].others, rows[s].extra, weights});
      }
    });
  };
  gemm::share_ring<Tile>(produce, consume);
#endif
}

template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    linear_slopes_wide_kernel(const __grid_constant__ WideLogits<SlopesWork> w) {
#if defined(SP_WGMMA)
  const SlopesWork& work = w.work;
  const int width = static_cast<int>(work.z.width), steps = (width + Tile::kK - 1) / Tile::kK;
  const Turns<Tile> turns{ceil_div(work.z.wave.cleared(), Turns<Tile>::kRows),
                          ceil_div(work.columns, Tile::kN)};
  const auto produce = [&](auto& memory, auto& place) {
    turns.each(work.units, [&](int row, int column) {
      gemm::fetch_steps<Tile, Major::k, Major::k>(memory, {&w.x, 0}, {&w.weight, 0}, place, row,
                                                  static_cast<int>(work.column + column * Tile::kN),
                                                  width);
    });
  };
  const auto consume = [&](auto& memory, auto& place, int consumer) {
    turns.each(work.units, [&](int row, int column) {
      WideFragment<Tile> f;
      gemm::multiply_steps<T, Tile, Major::k, Major::k>(f.sums, memory, place, consumer, steps);
      put_slopes<T>(f, work, row, work.column + column * Tile::kN);
    });
  };
  gemm::share_ring<Tile>(produce, consume);
#endif
}

template <class T, class Tile, class Work>
WideLogits<Work> wide_logits(const Work& work) {
  const Logits& z = work.z;
  return {lines_of<T>(z.x, z.wave.rows, z.width, z.x_stride, Major::k, Tile::kM),
          lines_of<T>(z.weight, z.classes, z.width, z.width, Major::k, kShare<Tile>), work};
}

template <class T>
void states_by_warpgroups(const StatesWork& work, const Tiles& tiles, Stream& stream) {
  const auto by = [&](auto tile, auto kernel) {
    using Tile = decltype(tile);
    launch(stream, kernel, wide_shape<Tile>(work.z.wave.rows, work.spans, tiles),
           wide_logits<T, Tile>(work));
  };
  const bool alone = work.extra == Extra::none, plain = alone && !work.z.map.capped;
  const int64_t columns = std::min(work.span, work.z.classes);
  const bool large = tiles.wide_large(work.z.wave.rows, columns, work.spans);
  // A cap without extras folds fastest where it is known, with no row to store.
  if (work.stored.rows > 0 || (large && alone && !plain)) {
    plain ? by(WideLarge{}, linear_states_wide_kernel<T, WideLarge, true, true>)
          : by(WideLarge{}, linear_states_wide_kernel<T, WideLarge, false, true>);
  } else if (large) {
    plain ? by(WideLarge{}, linear_states_wide_kernel<T, WideLarge, true, false>)
          : by(WideLarge{}, linear_states_wide_kernel<T, WideLarge, false, false>);
  } else {
    plain ? by(WideSmall{}, linear_states_wide_kernel<T, WideSmall, true, false>)
          : by(WideSmall{}, linear_states_wide_kernel<T, WideSmall, false, false>);
  }
}

template <class T>
void slopes_by_warpgroups(const SlopesWork& work, const Tiles& tiles, Stream& stream) {
  const auto by = [&](auto tile, auto kernel) {
    using Tile = decltype(tile);
    launch(stream, kernel,
           wide_shape<Tile>(work.z.wave.rows, ceil_div(work.columns, Tile::kN), tiles),
           wide_logits<T, Tile>(work));
  };
  const bool large = tiles.wide_large(work.z.wave.rows, work.columns);
  large ? by(WideLarge{}, linear_slopes_wide_kernel<T, WideLarge>)
        : by(WideSmall{}, linear_slopes_wide_kernel<T, WideSmall>);
}

}  // namespace surprisal::linear_cross_entropy
