// The kernels of 16-bit floats with mma.sync (cuda/gemm.h): states and slopes end in registers, so
// that neither the logits nor anything but dz of one chunk is ever stored. 2 N V D flop each, and N
// V exponentials, which at D of a thousand take a fortieth of the products' time.
#pragma once
#include "ops/linear_cross_entropy/fragments.h"
#include "ops/linear_cross_entropy/kinds.h"

namespace surprisal::linear_cross_entropy {

using namespace cuda;
using gemm::Major;

// Columns by columns the same for a row in either, so that its bits are.
using Tall = gemm::Tile<128, kColumnTile, 2, 4, 4, 1>;
using Short = gemm::Tile<kShortRows, kColumnTile, 1, 4, 4, 2>;
static_assert(Tall::kM == kRowTile && Tall::kWarpN == Short::kWarpN, "the same columns a thread");

template <class T>
__device__ inline gemm::Operand<T> rows_of_x(const Logits& z, int64_t live) {
  return {static_cast<const T*>(z.x), z.x_stride, live, z.width, true};
}
template <class T>
__device__ inline gemm::Operand<T> rows_of_weight(const Logits& z) {
  const auto* w = static_cast<const T*>(z.weight);
  return {w, z.width, z.classes, z.width,
          gemm::is_packed(reinterpret_cast<uintptr_t>(w), z.width, z.width)};
}

// A row's state of a span, of one of the warps that share its columns.
struct WarpState {
  float max, others, extra, weight;
};

// Of the warps that share the columns of a tile.
template <class Tile>
__device__ inline void merge_tile_sums(const StatesWork& work, const TileSums<float>* parts,
                                       int64_t row, int64_t live, int64_t column) {
  for (int i = thread_index(); i < Tile::kM && row + i < live; i += Tile::kThreads) {
    float max = kNone<float>, mass = 0;
    for (int warp = 0; warp < Tile::kWarpsN; ++warp) {
      const TileSums<float> part = load(parts + warp * Tile::kM + i);
      add_tile_sums(&max, &mass, part.max, part.mass);
    }
    store(tile_sums_at<float>(work, row + i, column), TileSums<float>{max, mass});
  }
}

template <class T, class Tile, bool kPlain>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    linear_states_kernel(StatesWork work) {
#if defined(SP_LINEAR_FRAGMENTS)
  using F = Fragment<Tile>;
  const int64_t live = work.z.wave.live();
  const gemm::TilePlace place(block_index(), ceil_div(work.z.wave.rows, Tile::kM), work.spans);
  const int64_t row = place.row * Tile::kM;
  if (row >= live) return;
  auto* memory = &shared<unsigned char>();
  auto* targets = reinterpret_cast<int32_t*>(memory + Tile::kShared);
  for (int i = thread_index(); i < Tile::kM; i += Tile::kThreads)
    store(targets + i, row + i < live ? load(work.z.target + row + i) : -1);
  const auto x = rows_of_x<T>(work.z, live);
  const auto w = rows_of_weight<T>(work.z);
  TileRow rows[F::kSlots];
  float weights = 0;
  const int64_t begin = place.column * work.span;
  const int64_t end = begin + work.span < work.z.classes ? begin + work.span : work.z.classes;
  for (int64_t column = begin; column < end; column += Tile::kN) {
    sync_threads();  // targets are there, and the last tile's shared memory was read to its end
    F f;
    f.sums.clear();
    gemm::multiply_block<T, Tile, Major::k, Major::k>(f.sums, x, w, row, column, 0, work.z.width,
                                                      memory);
    const auto target = [&](int slot) { return load(targets + F::row(slot)); };
    constexpr Cap kCap = kPlain ? Cap::none : Cap::unknown;
    add_states<T, kPlain, kCap>(f, rows, work, target, row, column, begin, &weights);
    if (work.tile_sums) {
      auto* parts = reinterpret_cast<TileSums<float>*>(targets + Tile::kM);
      fold_tile_sums<T, kCap>(f, work, target, column, [&](int slot, int, TileSums<float> sums) {
        store(parts + warp_index() % Tile::kWarpsN * Tile::kM + F::row(slot), sums);
      });
      sync_threads();  // the warps' sums are there; the barrier of the next tile keeps them so
      merge_tile_sums<Tile>(work, parts, row, live, column);
    }
  }
  merge_quad(rows, work.extra, &weights);
  auto* states = reinterpret_cast<WarpState*>(memory);
  sync_threads();  // the last tile was read to its end
  if (lane_index() % 4 == 0) {
#pragma unroll
    for (int s = 0; s < F::kSlots; ++s) {
      WarpState* to = states + warp_index() % Tile::kWarpsN * Tile::kM + F::row(s);
      store(&to->max, rows[s].max);
      store(&to->others, rows[s].others);
      store(&to->extra, rows[s].extra);
      store(&to->weight, weights);
    }
  }
  sync_threads();  // the warps' states are there
  for (int i = thread_index(); i < Tile::kM && row + i < live; i += Tile::kThreads) {
    TileRow sum;
    float sum_weight = 0;
    for (int warp = 0; warp < Tile::kWarpsN; ++warp) {
      const WarpState* from = states + warp * Tile::kM + i;
      TileRow part;
      part.max = load(&from->max);
      part.others = load(&from->others);
      part.extra = load(&from->extra);
      const float weight = load(&from->weight);
      sum.merge(part, work.extra, sum_weight, weight);
      sum_weight += weight;
    }
    store(static_cast<SpanState<float>*>(work.states) + place.column * work.z.wave.rows + row + i,
          SpanState<float>{sum.max, sum.others, sum.extra, sum_weight});
  }
#endif
}

template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    linear_slopes_kernel(SlopesWork work) {
#if defined(SP_LINEAR_FRAGMENTS)
  const int64_t live = work.z.wave.live();
  const gemm::TilePlace place(block_index(), ceil_div(work.z.wave.rows, Tile::kM),
                              ceil_div(work.columns, Tile::kN));
  const int64_t row = place.row * Tile::kM, column = work.column + place.column * Tile::kN;
  if (row >= live || !work.keep.written(row, column)) return;
  Fragment<Tile> f;
  f.sums.clear();
  gemm::multiply_block<T, Tile, Major::k, Major::k>(f.sums, rows_of_x<T>(work.z, live),
                                                    rows_of_weight<T>(work.z), row, column, 0,
                                                    work.z.width, &shared<unsigned char>());
  put_slopes<T>(f, work, row, column);
#endif
}

template <class T>
void states_by_tiles(const StatesWork& work, const Tiles& tiles, Stream& stream) {
  const auto by = [&](auto tile, auto kernel) {
    using Tile = decltype(tile);
    const int64_t blocks = ceil_div(work.z.wave.rows, Tile::kM) * work.spans;
    constexpr int64_t kStates = Tile::kWarpsN * Tile::kM * int64_t{sizeof(WarpState)};
    static_assert(kStates <= Tile::kShared, "states fit where the operands were");
    constexpr int64_t kSums = Tile::kWarpsN * Tile::kM * int64_t{sizeof(TileSums<float>)};
    launch(stream, kernel,
           {blocks, Tile::kThreads,
            Tile::kShared + Tile::kM * int64_t{sizeof(int32_t)} + (work.tile_sums ? kSums : 0)},
           work);
  };
  const bool plain = work.extra == Extra::none && !work.z.map.capped;
  if (tiles.tall(work.z.wave.rows, work.spans)) {
    plain ? by(Tall{}, linear_states_kernel<T, Tall, true>)
          : by(Tall{}, linear_states_kernel<T, Tall, false>);
  } else {
    plain ? by(Short{}, linear_states_kernel<T, Short, true>)
          : by(Short{}, linear_states_kernel<T, Short, false>);
  }
}

template <class T>
void slopes_by_tiles(const SlopesWork& work, const Tiles& tiles, Stream& stream) {
  const int64_t columns = ceil_div(work.columns, kColumnTile);
  const auto by = [&](auto tile, auto kernel) {
    using Tile = decltype(tile);
    launch(stream, kernel,
           {ceil_div(work.z.wave.rows, Tile::kM) * columns, Tile::kThreads, Tile::kShared}, work);
  };
  tiles.tall(work.z.wave.rows, columns) ? by(Tall{}, linear_slopes_kernel<T, Tall>)
                                        : by(Short{}, linear_slopes_kernel<T, Short>);
}

}  // namespace surprisal::linear_cross_entropy
