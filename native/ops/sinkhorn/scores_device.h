// Tiles of scores Z by a block on the FMA pipe: C_ij = shift_i + shift_j - sign Z_ij, as on the
// CPU. Warp w has rows 4 w to 4 w + 3 of the tile, its lanes every 32nd of 128 columns. A score's
// bits do not depend on the tile that it is in.
#pragma once
#include <cmath>
#include <limits>

#include "ops/sinkhorn/device.h"

namespace surprisal::sinkhorn {

constexpr int kLaneColumns = kColumns / cuda::kWarp;

template <class A>
struct Tiles {
  A column[kDepthPart][kColumns];
  A row[kDepthPart][kMostThreads / 32 * kWarpRows];
};

template <class A>
struct Scores {
  int64_t rows = 0, columns = 0;
  Cost kind = Cost::half_square;
  A sign = 1;
  A floor = 0;                         // of squared distances
  const A *x = nullptr, *y = nullptr;  // feature-major
  int64_t x_stride = 0, y_stride = 0, depth = 0;
  // Given or held: element (i, j) is z[i row_step + j column_step].
  const void* z = nullptr;
  DType dtype = DType::f32;
  int64_t row_step = 0, column_step = 0;
  const A* label_cost = nullptr;
  const int32_t *label_x = nullptr, *label_y = nullptr;
  int64_t label_row = 0, label_column = 0;
};

struct Extent {
  int64_t rows, columns;
};
SP_HOST_DEVICE inline Extent extent_of(const Place& at, Term term, bool transposed) {
  if (term == Term::self_x) return {at.n, at.n};
  if (term == Term::self_y) return {at.m, at.m};
  return transposed ? Extent{at.m, at.n} : Extent{at.n, at.m};
}

// The scores of a term, made from the points or read from a given cost.
template <class A>
__device__ inline Scores<A> scores_of(const Job& job, const Place& at, Term term, bool transposed) {
  Scores<A> s;
  const Extent size = extent_of(at, term, transposed);
  s.rows = size.rows;
  s.columns = size.columns;
  s.kind = job.kind;
  if (job.kind == Cost::matrix) {
    s.sign = A(-1);
    s.z = static_cast<const char*>(job.cost.data) + at.cost * size_of(job.cost.dtype);
    s.dtype = job.cost.dtype;
    s.row_step = transposed ? 1 : at.m;
    s.column_step = transposed ? at.m : 1;
    return s;
  }
  const bool x_rows = term == Term::self_x || (term == Term::cross && !transposed);
  const bool x_columns = term == Term::self_x || (term == Term::cross && transposed);
  const DeviceSide &row = x_rows ? job.x : job.y, &column = x_columns ? job.x : job.y;
  const int64_t i = x_rows ? at.x : at.y, j = x_columns ? at.x : at.y;
  s.floor = job.geomloss ? A(1e-8) : A(0);
  s.depth = job.width;
  s.x = in_type<A>(row.centred, row.centred_wide) + i;
  s.y = in_type<A>(column.centred, column.centred_wide) + j;
  s.x_stride = row.count;
  s.y_stride = column.count;
  if (!job.labels) return s;
  s.label_cost = in_type<A>(job.label_cost, job.label_cost_wide);
  if (term != Term::cross) s.label_cost += job.labels * job.labels;
  s.label_x = row.label + i;
  s.label_y = column.label + j;
  s.label_row = transposed ? 1 : job.labels;
  s.label_column = transposed ? job.labels : 1;
  return s;
}

// The same where they lie in global memory.
template <class A>
__device__ inline Scores<A> held_scores(const Job& job, const Place& at, Term term,
                                        bool transposed) {
  Scores<A> s = scores_of<A>(job, at, term, transposed);
  const A* held = in_type<A>(job.held, job.held_wide);
  if (!held) return s;
  s.z = held + held_of(at, term);
  s.dtype = DTypeOf<A>::value;
  s.row_step = transposed ? 1 : s.columns;
  s.column_step = transposed ? s.rows : 1;
  s.label_cost = nullptr;
  return s;
}

template <class A>
__device__ inline A score_at(const Scores<A>& s, int64_t i, int64_t j) {
  const int64_t at = i * s.row_step + j * s.column_step;
  if constexpr (std::is_same_v<A, float>) {
    if (s.dtype == DType::f16) return to_float(cuda::load(static_cast<const Float16*>(s.z) + at));
    if (s.dtype == DType::bf16) return to_float(cuda::load(static_cast<const BFloat16*>(s.z) + at));
  } else {
    if (s.dtype != DType::f64) return cuda::number_at(s.z, s.dtype, at);
  }
  return cuda::load(static_cast<const A*>(s.z) + at);
}

// What the labels of a pair add to its cost.
template <class A>
__device__ inline A label_cost_at(const Scores<A>& s, const A* cost, int64_t i, int64_t j) {
  return cuda::load(cost + cuda::load(s.label_x + i) * s.label_row +
                    cuda::load(s.label_y + j) * s.label_column);
}

template <class A>
using Tile = A[kWarpRows][kLaneColumns];

// The part of the tile that lies in these features.
template <class A>
__device__ __forceinline__ void load_part(const Scores<A>& s, Tiles<A>& tiles, int64_t i, int64_t j,
                                          int64_t first, int depth) {
  const int rows = cuda::block_size() / cuda::kWarp * kWarpRows;
  cuda::sync_threads();  // everybody is done with the part before
  for (int t = cuda::thread_index(); t < depth * kColumns; t += cuda::block_size()) {
    const int k = t / kColumns, c = t % kColumns;
    const bool real = j + c < s.columns;
    cuda::store(&tiles.column[k][c],
                real ? cuda::load(s.y + (first + k) * s.y_stride + j + c) : A(0));
  }
  for (int t = cuda::thread_index(); t < depth * rows; t += cuda::block_size()) {
    const int k = t / rows, r = t % rows;
    const bool real = i + r < s.rows;
    cuda::store(&tiles.row[k][r], real ? cuda::load(s.x + (first + k) * s.x_stride + i + r) : A(0));
  }
  cuda::sync_threads();  // the part is there
}

template <bool kSquares, class A>
__device__ __forceinline__ void multiply_part(const Tiles<A>& tiles, int depth, Tile<A>& z) {
  const int own = cuda::warp_index() * kWarpRows;
  [[maybe_unused]] constexpr int kAhead =
      sizeof(A) == 8 ? 1 : 4;  // registers for more there are not
#pragma unroll(kAhead)
  for (int k = 0; k < depth; ++k) {
    const auto x = cuda::load(reinterpret_cast<const cuda::Pack<A, 4>*>(&tiles.row[k][own]));
    A y[kLaneColumns];
#pragma unroll
    for (int c = 0; c < kLaneColumns; ++c)
      y[c] = cuda::load(&tiles.column[k][cuda::lane_index() + c * cuda::kWarp]);
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) {
#pragma unroll
      for (int c = 0; c < kLaneColumns; ++c) {
        const A d = kSquares ? x.at[r] - y[c] : x.at[r];
        z[r][c] += d * (kSquares ? d : y[c]);
      }
    }
  }
}

// Rows i + 4 warp + r and columns j + lane + 32 c. All threads of the block come here together.
template <class A>
__device__ __forceinline__ void score_tile(const Scores<A>& s, Tiles<A>& tiles, int64_t i,
                                           int64_t j, Tile<A>& z) {
  static_assert(kWarpRows == 4, "one pack of rows");
  const int64_t first = i + cuda::warp_index() * kWarpRows, column = j + cuda::lane_index();
  if (s.z) {
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) {
#pragma unroll
      for (int c = 0; c < kLaneColumns; ++c) {
        const int64_t at = column + c * cuda::kWarp;
        z[r][c] = first + r < s.rows && at < s.columns ? score_at(s, first + r, at) : A(0);
      }
    }
    return;
  }
#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) {
#pragma unroll
    for (int c = 0; c < kLaneColumns; ++c) z[r][c] = 0;
  }
  const bool squares = s.kind == Cost::distance;
  for (int64_t k = 0; k < s.depth; k += kDepthPart) {
    const int depth = static_cast<int>(s.depth - k < kDepthPart ? s.depth - k : kDepthPart);
    load_part(s, tiles, i, j, k, depth);
    squares ? multiply_part<true>(tiles, depth, z) : multiply_part<false>(tiles, depth, z);
  }
  if (!squares && !s.label_cost) return;
#pragma unroll
  for (int r = 0; r < kWarpRows; ++r) {
#pragma unroll
    for (int c = 0; c < kLaneColumns; ++c) {
      if (squares) z[r][c] = -std::sqrt(z[r][c] > s.floor ? z[r][c] : s.floor);
      const int64_t row = first + r, at = column + c * cuda::kWarp;
      if (s.label_cost && row < s.rows && at < s.columns)
        z[r][c] -= label_cost_at(s, s.label_cost, row, at);
    }
  }
}

// A weight of 0: its power of two is 0.
template <class A>
constexpr A kNothing = A(-1e30);

__device__ inline float power_of_two(float x) { return cuda::exp2_fast(x); }
// Called, not inlined: sixteen of them at once take more registers than there are.
__device__ inline SP_CALLED double power_of_two(double x) { return std::exp2(x); }

// Between these a sum has lost nothing to either end of the range of 2^x.
template <class A>
__device__ inline bool in_range(double sum) {
  if constexpr (std::is_same_v<A, float>) return sum > 0x1p-80 && sum < 0x1p110;
  return sum > 0x1p-900 && sum < 0x1p1000;
}

// 1/(epsilon ln 2) as the exponents see it: shifts and products must round the same number.
template <class A>
SP_HOST_DEVICE inline A unit_of(double epsilon) {
  return static_cast<A>(1.4426950408889634 / epsilon);
}

}  // namespace surprisal::sinkhorn
