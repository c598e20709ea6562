// Passes of a block over its rows: largest exponents, sums of powers, scores to be held.
#pragma once
#include "ops/sinkhorn/points_device.h"

namespace surprisal::sinkhorn {

// Largest k Z + column of each row, with its sign turned: what brings the sum to 1 and more.
template <class A>
__device__ inline void most_of_rows(const Scores<A>& s, Tiles<A>& tiles, int64_t i, A k,
                                    const A* other, A (&row)[kWarpRows]) {
  const A scale = k * s.sign;
#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) row[r] = std::numeric_limits<A>::lowest();
  for (int64_t j = 0; j < s.columns; j += kColumns) {
    Tile<A> z;
    score_tile(s, tiles, i, j, z);
#pragma unroll
    for (int c = 0; c < kLaneColumns; ++c) {
      const int64_t column = j + cuda::lane_index() + c * cuda::kWarp;
      if (column >= s.columns) continue;
      const A w = cuda::load(other + column);
#pragma unroll
      for (int r = 0; r < kWarpRows; ++r) {
        const A e = scale * z[r][c] + w;
        row[r] = e > row[r] ? e : row[r];
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) row[r] = -cuda::warp_max(row[r]);
}

// Sums of 2^(k Z + row + column).
template <class A>
__device__ inline void sums_of_rows(const Scores<A>& s, Tiles<A>& tiles, int64_t i, A k,
                                    const A (&row)[kWarpRows], const A* other,
                                    double (&sum)[kWarpRows]) {
  constexpr int kFlush = 8;  // tiles that are summed before going to doubles
  const A scale = k * s.sign;
  A part[kWarpRows];
#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) {
    part[r] = 0;
    sum[r] = 0;
  }
  int count = 0;
  for (int64_t j = 0; j < s.columns; j += kColumns) {
    Tile<A> z;
    score_tile(s, tiles, i, j, z);
#pragma unroll
    for (int c = 0; c < kLaneColumns; ++c) {
      const int64_t column = j + cuda::lane_index() + c * cuda::kWarp;
      if (column >= s.columns) continue;
      const A w = cuda::load(other + column);
#pragma unroll
      for (int r = 0; r < kWarpRows; ++r) part[r] += power_of_two(scale * z[r][c] + (w + row[r]));
    }
    if (++count % kFlush && j + kColumns < s.columns) continue;
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) {
      sum[r] += static_cast<double>(part[r]);
      part[r] = 0;
    }
  }
#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) sum[r] = cuda::warp_sum(sum[r]);
}

// e^t - 1
__device__ inline double less_one(double t) {
  if (!(std::fabs(t) < 0x1p-6)) return std::expm1(t);
  double p = 1;
#pragma unroll
  for (int k = 6; k > 1; --k) p = 1 + t * (1.0 / k) * p;
  return t * p;
}

// Sums of b_j (e^((f_i + g_j - C_ij) inverse) - 1).
template <class A>
__device__ inline void excesses_of_rows(const Scores<A>& s, Tiles<A>& tiles, int64_t i,
                                        const DevicePoints<A>& own, const DevicePoints<A>& other,
                                        double inverse, double (&sum)[kWarpRows]) {
  double f[kWarpRows];
#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) {
    const int64_t row = i + cuda::warp_index() * kWarpRows + r;
    f[r] = row < own.n ? cuda::load(own.potential + row) - cuda::load(own.shift + row) : 0;
    sum[r] = 0;
  }
  for (int64_t j = 0; j < s.columns; j += kColumns) {
    Tile<A> z;
    score_tile(s, tiles, i, j, z);
#pragma unroll
    for (int c = 0; c < kLaneColumns; ++c) {
      const int64_t column = j + cuda::lane_index() + c * cuda::kWarp;
      if (column >= s.columns) continue;
      const double g = cuda::load(other.potential + column) - cuda::load(other.shift + column);
      const double w = cuda::load(other.weight + column);
#pragma unroll
      for (int r = 0; r < kWarpRows; ++r)
        sum[r] += w * less_one((f[r] + g + double(s.sign * z[r][c])) * inverse);
    }
  }
#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) sum[r] = cuda::warp_sum(sum[r]);
}

// The scores of a term into memory, row by row.
template <class A>
__device__ inline void hold(const Scores<A>& s, Tiles<A>& tiles, int64_t begin, int64_t end, A* to,
                            int64_t pitch) {
  const int rows = cuda::block_size() / cuda::kWarp * kWarpRows;
  for (int64_t i = begin; i < end; i += rows) {
    for (int64_t j = 0; j < s.columns; j += kColumns) {
      Tile<A> z;
      score_tile(s, tiles, i, j, z);
#pragma unroll
      for (int r = 0; r < kWarpRows; ++r) {
#pragma unroll
        for (int c = 0; c < kLaneColumns; ++c) {
          const int64_t row = i + cuda::warp_index() * kWarpRows + r;
          const int64_t column = j + cuda::lane_index() + c * cuda::kWarp;
          if (row < s.rows && column < s.columns) cuda::store(to + row * pitch + column, z[r][c]);
        }
      }
    }
  }
}

}  // namespace surprisal::sinkhorn
