// The gradient's products without logits: sums of a chunk's or strip's dz with W or x that are
// carried on from where the last ones ended, so that their bits do not depend on how rows are cut.
// 2 m n k flop each, as cuda_products.cu.
#include "cuda/gemm.h"
#include "cuda/gemm_plain.h"
#include "cuda/launch.h"
#include "ops/emo/device.h"

namespace surprisal::emo {
namespace {

using gemm::Major;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T, int R>
__global__ void __launch_bounds__(gemm::kPlainThreads, 1)
    emo_carried_plain_kernel(CarriedProduct p) {
  constexpr int kSide = gemm::kPlainSide * R;
  const gemm::TilePlace place(block_index(), ceil_div(p.m, kSide), ceil_div(p.n, kSide));
  const int64_t row = place.row * kSide, column = place.column * kSide;
  T* const out = static_cast<T*>(p.out);
  T sums[R][R] = {};
  const auto each = [&](auto&& f) {
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
      for (int j = 0; j < R; ++j) {
        const int64_t m = row + gemm::plain_place(i, thread_index() / gemm::kPlainSide);
        const int64_t n = column + gemm::plain_place(j, thread_index() % gemm::kPlainSide);
        if (m < p.m && n < p.n) f(sums[i][j], out + m * p.n + n);
      }
  };
  if (!p.begins) each([](T& sum, const T* at) { sum = load(at); });
  gemm::multiply_plain<T, R>(sums, {p.a, p.a_stride, p.m, p.a_by_k}, {p.b, p.n, p.n, false}, row,
                             column, 0, p.k, &shared<gemm::PlainStage<T, R>>());
  each([](const T& sum, T* at) { store(at, sum); });
}

// Without tensor cores for them (ptx_sm75.h) products need more registers.
template <class T, class Tile, Major a_major>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    emo_carried_kernel(CarriedProduct p, bool packed_a, bool packed_b) {
  const gemm::TilePlace place(block_index(), ceil_div(p.m, Tile::kM), ceil_div(p.n, Tile::kN));
  const int64_t row = place.row * Tile::kM, column = place.column * Tile::kN;
  const gemm::Operand<T> a{static_cast<const T*>(p.a), p.a_stride, p.m, p.k, packed_a};
  const gemm::Operand<T> b{static_cast<const T*>(p.b), p.n, p.n, p.k, packed_b};
  float* const out = static_cast<float*>(p.out);
  gemm::Accumulators<Tile> sums;
  const auto each = [&](auto&& f) {
    const int64_t m0 = row + warp_index() / Tile::kWarpsN * Tile::kWarpM + lane_index() / 4;
    const int64_t n0 = column + warp_index() % Tile::kWarpsN * Tile::kWarpN + lane_index() % 4 * 2;
#pragma unroll
    for (int i = 0; i < Tile::kRowTiles; ++i)
#pragma unroll
      for (int j = 0; j < Tile::kColumnTiles; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int64_t m = m0 + 16 * i + 8 * (e / 2), n = n0 + 8 * j + e % 2;
          if (m < p.m && n < p.n) f(sums.at[i][j][e], out + m * p.n + n);
        }
  };
  sums.clear();
  if (!p.begins) each([](float& sum, const float* at) { sum = load(at); });
  gemm::multiply_block<T, Tile, a_major, Major::mn>(sums, a, b, row, column, 0, p.k,
                                                    &shared<unsigned char>());
  each([](const float& sum, float* at) { store(at, sum); });
}

template <class T>
void carry_plain(const CarriedProduct& p, Stream& stream) {
  constexpr int R = 4;
  constexpr int kSide = gemm::kPlainSide * R;
  launch(
      stream, emo_carried_plain_kernel<T, R>,
      {ceil_div(p.m, kSide) * ceil_div(p.n, kSide), gemm::kPlainThreads, gemm::kPlainShared<T, R>},
      p);
}

template <class T>
void carry_on_tensor_cores(const CarriedProduct& p, Stream& stream) {
  using Tile = gemm::Large;
  const auto packed = [](const void* data, int64_t line, int64_t stride) {
    return gemm::is_packed(reinterpret_cast<uintptr_t>(data), line, stride);
  };
  // Rows of dz are padded by zeros to whole chunks.
  const bool a = packed(p.a, p.a_stride, p.a_stride), b = packed(p.b, p.n, p.n);
  const cuda::Shape shape{ceil_div(p.m, Tile::kM) * ceil_div(p.n, Tile::kN), Tile::kThreads,
                          Tile::kShared};
  p.a_by_k ? launch(stream, emo_carried_kernel<T, Tile, Major::k>, shape, p, a, b)
           : launch(stream, emo_carried_kernel<T, Tile, Major::mn>, shape, p, a, b);
}

}  // namespace

void carry(const CarriedProduct& p, Stream& stream) {
  if (p.m == 0 || p.n == 0) return;
  switch (p.dtype) {
    case DType::f64:
      return carry_plain<double>(p, stream);
    case DType::bf16:
      return carry_on_tensor_cores<BFloat16>(p, stream);
    case DType::f16:
      return carry_on_tensor_cores<Float16>(p, stream);
    default:
      return carry_plain<float>(p, stream);
  }
}

}  // namespace surprisal::emo
