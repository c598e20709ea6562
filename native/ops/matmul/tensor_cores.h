// The kernel of 16-bit products with mma.sync: cuda/gemm.h's main loop and an epilogue that rounds
// once. Two flop for two bytes an element of A and B and a tile of 128 x 128: compute-bound from
// k of about a hundred on.
#pragma once
#include "ops/matmul/epilogue.h"

namespace surprisal::matmul {

using namespace cuda;
using gemm::Major;

// Without tensor cores for them (ptx_sm75.h) products need more registers.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
template <class Tile>
constexpr int kTensorBlocks = 1;
#else
template <class Tile>
constexpr int kTensorBlocks = Tile::kBlocks;
#endif

template <class T, class Tile, Major a_major, Major b_major>
__global__ void __launch_bounds__(Tile::kThreads, kTensorBlocks<Tile>)
    matmul_tensor_cores_kernel(Parameters p) {
  const Place place(p, block_index());
  constexpr bool kColumnsOfA = a_major == Major::mn, kRowsOfB = b_major == Major::mn;
  const T* a_data = static_cast<const T*>(p.a) + p.a_starts.of(place.pair);
  const T* b_data = static_cast<const T*>(p.b) + p.b_starts.of(place.pair);
  const gemm::Operand<T> a{a_data, kColumnsOfA ? p.m : p.k, p.m, p.k, p.a_packed};
  const gemm::Operand<T> b{b_data, kRowsOfB ? p.n : p.k, p.n, p.k, p.b_packed};
  gemm::Accumulators<Tile> sums;
  sums.clear();
  gemm::multiply_block<T, Tile, a_major, b_major>(sums, a, b, place.row, place.column, place.begin,
                                                  place.end, &shared<unsigned char>());
  const Output<T> out(p, place);
  sums.each([&](int row, int column, const float(&quad)[4][2]) {
    out.put(place.row + row, place.column + column, quad);
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
