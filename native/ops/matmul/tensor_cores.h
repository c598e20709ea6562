// The kernel of 16-bit products with mma.sync: cuda/gemm.h's main loop and an epilogue that rounds
// once. Two flop for two bytes an element of A and B and a tile of 128 x 128: compute-bound from
// k of about a hundred on.
#pragma once
#include "ops/matmul/launch.h"

namespace surprisal::matmul {

using namespace cuda;
using gemm::Major;

// Stores neighbours x, y of a row at `to`, the second where `two`; adds what is there on request.
template <class T>
__device__ inline void put(T* to, float x, float y, bool two, bool accumulate) {
  if (accumulate) {
    x += to_float(load(to));
    if (two) y += to_float(load(to + 1));
  }
  const T low = from_float<T>(x), high = from_float<T>(y);
  if (two && reinterpret_cast<uintptr_t>(to) % sizeof(Pack<T, 2>) == 0) {
    store(reinterpret_cast<Pack<T, 2>*>(to), Pack<T, 2>{{low, high}});
  } else {
    store(to, low);
    if (two) store(to + 1, high);
  }
}

template <class T, class Tile, Major a_major, Major b_major>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    matmul_tensor_cores_kernel(Parameters p) {
  const Place place(p);
  constexpr bool kColumnsOfA = a_major == Major::mn, kRowsOfB = b_major == Major::mn;
  const T* a_data = static_cast<const T*>(p.a) + p.a_starts.of(place.pair);
  const T* b_data = static_cast<const T*>(p.b) + p.b_starts.of(place.pair);
  const gemm::Operand<T> a{a_data, kColumnsOfA ? p.m : p.k, p.m, p.k, p.a_packed};
  const gemm::Operand<T> b{b_data, kRowsOfB ? p.n : p.k, p.n, p.k, p.b_packed};
  gemm::Accumulators<Tile> sums;
  sums.clear();
  gemm::multiply<T, Tile, a_major, b_major>(sums, a, b, place.row, place.column, place.begin,
                                            place.end, &shared<unsigned char>());
  T* out = static_cast<T*>(p.out) + place.pair * p.m * p.n;
  float* partials = static_cast<float*>(p.partials) +
                    (p.plan.parts > 1 ? (place.part * p.batch + place.pair) * p.m * p.n : 0);
  sums.each([&](int i, int j, float x, float y) {
    const int64_t row = place.row + i, column = place.column + j;
    if (row >= p.m || column >= p.n) return;
    const int64_t at = row * p.n + column;
    if (p.plan.parts > 1) {
      put(partials + at, x, y, column + 1 < p.n, false);
    } else {
      put(out + at, x, y, column + 1 < p.n, p.accumulate);
    }
  });
}

template <class T, class Tile>
void launch_tensor_cores(const Parameters& p, Stream& stream) {
  const Shape shape{p.plan.blocks, Tile::kThreads, Tile::kShared};
  const auto by = [&](auto a, auto b) {
    launch(stream, matmul_tensor_cores_kernel<T, Tile, decltype(a)::value, decltype(b)::value>,
           shape, p);
  };
  using K = std::integral_constant<Major, Major::k>;
  using MN = std::integral_constant<Major, Major::mn>;
  if (p.transpose_a) return p.transpose_b ? by(MN{}, K{}) : by(MN{}, MN{});
  return p.transpose_b ? by(K{}, K{}) : by(K{}, MN{});
}

template <class T>
void tensor_cores(const Parameters& p, Stream& stream) {
  if (p.plan.tile_m == gemm::Large::kM) return launch_tensor_cores<T, gemm::Large>(p, stream);
  return launch_tensor_cores<T, gemm::Small>(p, stream);
}

}  // namespace surprisal::matmul
