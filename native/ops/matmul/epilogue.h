// What happens to the float32 sums of a tile on tensor cores: rounded once, or added to what the
// output holds and then rounded, or kept as one part of a sum. A quad of lanes has four tiles of
// 8 x 8 in pieces of two columns; by exchange each lane gets one tile's row of 8, a 16-byte store.
#pragma once
#include "ops/matmul/launch.h"

namespace surprisal::matmul {

template <class T>
struct Output {
  T* out;           // of the pair
  float* partials;  // of the pair and part; or null
  int64_t m, n;
  bool accumulate, packed;

  __device__ Output(const Parameters& p, const Place& at)
      : out(static_cast<T*>(p.out) + at.pair * p.m * p.n),
        partials(p.plan.parts > 1
                     ? static_cast<float*>(p.partials) + (at.part * p.batch + at.pair) * p.m * p.n
                     : nullptr),
        m(p.m),
        n(p.n),
        accumulate(p.accumulate),
        packed(p.out_packed && !p.accumulate && p.plan.parts == 1) {}

  // quad[j] is this lane's pair of columns of 8 x 8 tile j, the first of which is at `column`, in
  // `row` of the output. All lanes of a warp take part.
  __device__ void put(int64_t row, int64_t column, const float (&quad)[4][2]) const {
    if (packed) {
      uint32_t word[4];
#pragma unroll
      for (int j = 0; j < 4; ++j)
        word[j] = uint32_t{from_float<T>(quad[j][0]).bits} |
                  uint32_t{from_float<T>(quad[j][1]).bits} << 16;
      cuda::gemm::transpose_quad(word);
      column += cuda::lane_index() % 4 * 8;
      if (row < m && column < n) {
        cuda::store(reinterpret_cast<cuda::Pack<uint32_t, 4>*>(out + row * n + column),
                    cuda::Pack<uint32_t, 4>{{word[0], word[1], word[2], word[3]}});
      }
      return;
    }
    if (row >= m) return;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t at = column + 8 * j + cuda::lane_index() % 4 * 2;
#pragma unroll
      for (int e = 0; e < 2; ++e)
        if (at + e < n) put_one(row * n + at + e, quad[j][e]);
    }
  }

 private:
  __device__ void put_one(int64_t at, float x) const {
    if (partials) {
      cuda::store(partials + at, x);
    } else {
      cuda::store(out + at, from_float<T>(accumulate ? x + to_float(cuda::load(out + at)) : x));
    }
  }
};

}  // namespace surprisal::matmul
