// A thread has a matrix of up to 4 x 4 in registers, padded by empty rows and columns. No thread
// waits for another, so that a step is 32 fused multiply-adds and 8 divisions; a team of lanes
// would exchange 8 numbers a step beside them. Columns first is rows first of the transposed.
// Backward keeps v of each step in shared memory and makes u again.
#pragma once
#include "ops/sinkhorn_knopp/device.h"

namespace surprisal::sinkhorn_knopp {

template <class C, bool kGradient>
class Lane {
  static constexpr int S = kLaneSide;
  using Square = C[S * S];

 public:
  __device__ Lane(const Work& work, C* kept) : w_(work), kept_(kept) {}

  __device__ void run(int64_t matrix) {
    load_square(w_.x, w_.dtype, matrix, k_, -std::numeric_limits<C>::infinity());
    Extent<C> extent;
#pragma unroll
    for (int e = 0; e < S * S; ++e)
      if (inside(e)) check(extent, matrix, e);
    const Entries<C> entries(w_, extent);
    if (entries.finite && !entries.fits) return w_.rest.put(matrix);
    if (!entries.finite) {
#pragma unroll
      for (int e = 0; e < S * S; ++e) k_[e] = std::numeric_limits<C>::quiet_NaN();
      return store_square(matrix);
    }
#pragma unroll
    for (int e = 0; e < S * S; ++e) k_[e] = inside(e) ? entries(k_[e]) : C{0};
    if (w_.columns_first) transpose(k_);
    sums(matrix);
    iterate();
    if constexpr (kGradient) {
      differentiate(matrix, entries.scale);
    } else {
#pragma unroll
      for (int e = 0; e < S * S; ++e) k_[e] = k_[e] * u_[e / S] * v_[e % S];
    }
    if (w_.columns_first) transpose(k_);
    store_square(matrix);
  }

 private:
  __device__ bool inside(int e) const { return e / S < w_.n && e % S < w_.m; }
  __device__ void check(Extent<C>& extent, int64_t matrix, int e) const {
    extent.add(k_[e], w_.matrix);
    if (w_.matrix && k_[e] < 0)
      cuda::report_fault(w_.negative, matrix * w_.size() + e / S * w_.m + e % S,
                         bits_of_double(k_[e]), 0, 0);
  }
  __device__ void load_square(const void* from, DType dtype, int64_t matrix, Square& to, C none) {
    if (w_.packed) {
      visit<C>(dtype, [&](auto tag) {
        using T = typename decltype(tag)::type;
        cuda::load_elements<C, T>(static_cast<const T*>(from) + matrix * S * S, to);
      });
      return;
    }
#pragma unroll
    for (int e = 0; e < S * S; ++e)
      to[e] = inside(e) ? element<C>(from, dtype, matrix * w_.size() + e / S * w_.m + e % S) : none;
  }
  __device__ void store_square(int64_t matrix) const {
    if (w_.packed) {
      visit<C>(w_.dtype, [&](auto tag) {
        using T = typename decltype(tag)::type;
        cuda::store_elements<C, T>(k_, static_cast<T*>(w_.to) + matrix * S * S);
      });
      return;
    }
#pragma unroll
    for (int e = 0; e < S * S; ++e)
      if (inside(e))
        set_element<C>(w_.to, w_.dtype, matrix * w_.size() + e / S * w_.m + e % S, k_[e]);
  }
  __device__ static void transpose(Square& x) {
#pragma unroll
    for (int i = 0; i < S; ++i) {
#pragma unroll
      for (int j = 0; j < i; ++j) {
        const C t = x[i * S + j];
        x[i * S + j] = x[j * S + i];
        x[j * S + i] = t;
      }
    }
  }
  // Of the side that is scaled first, and of the other.
  __device__ void sums(int64_t matrix) {
    if (!w_.rows && !w_.columns && w_.n == S && w_.m == S) {
#pragma unroll
      for (int i = 0; i < S; ++i) r_[i] = c_[i] = 1;
      return;
    }
#pragma unroll
    for (int i = 0; i < S; ++i) {
      const C row = i < w_.n ? static_cast<C>(w_.row(matrix, i)) : C{0};
      const C column = i < w_.m ? static_cast<C>(w_.column(matrix, i)) : C{0};
      r_[i] = w_.columns_first ? column : row;
      c_[i] = w_.columns_first ? row : column;
    }
  }

  // to_i = sum of K_ij by_j, or of its columns.
  __device__ void of_rows(const C (&by)[S], C (&to)[S]) const {
#pragma unroll
    for (int i = 0; i < S; ++i) {
      to[i] = 0;
#pragma unroll
      for (int j = 0; j < S; ++j) to[i] = fused(k_[i * S + j], by[j], to[i]);
    }
  }
  __device__ void of_columns(const C (&by)[S], C (&to)[S]) const {
#pragma unroll
    for (int j = 0; j < S; ++j) {
      to[j] = 0;
#pragma unroll
      for (int i = 0; i < S; ++i) to[j] = fused(k_[i * S + j], by[i], to[j]);
    }
  }
  __device__ void scale_rows() {
    of_rows(v_, u_);
#pragma unroll
    for (int i = 0; i < S; ++i) u_[i] = r_[i] * inverse(u_[i]);
  }
  __device__ C* kept(int64_t t, int j) const {
    return kept_ + ((t - 1) * S + j) * kLaneThreads + cuda::thread_index();
  }
  __device__ void recall(int64_t t) {
#pragma unroll
    for (int j = 0; j < S; ++j) v_[j] = t > 0 ? cuda::load(kept(t, j)) : C{1};
  }
  __device__ void iterate() {
#pragma unroll
    for (int j = 0; j < S; ++j) v_[j] = 1;
    for (int64_t t = 1; t <= w_.iterations; ++t) {
      scale_rows();
      of_columns(u_, v_);
#pragma unroll
      for (int j = 0; j < S; ++j) {
        v_[j] = c_[j] * inverse(v_[j]);
        if (kGradient) cuda::store(kept(t, j), v_[j]);
      }
    }
  }

  // As differentiate() of cpu/matrix_scaling.h, whose a_t and b_t are used up as they come.
  __device__ void differentiate(int64_t matrix, C scale) {
    Square d;
    load_square(w_.upstream, w_.upstream_dtype, matrix, d, 0);
    if (w_.columns_first) transpose(d);
    C gu[S] = {}, gv[S] = {};
#pragma unroll
    for (int e = 0; e < S * S; ++e) {
      const C x = k_[e] * u_[e / S] * v_[e % S] * d[e];
      gu[e / S] += x;
      gv[e % S] += x;
      d[e] = d[e] * u_[e / S] * v_[e % S];
    }
    for (int64_t t = w_.iterations; t > 0; --t) {
      C a[S], b[S];
#pragma unroll
      for (int j = 0; j < S; ++j) b[j] = v_[j] * gv[j] * inverse(c_[j]);
      recall(t - 1);
      scale_rows();
      of_rows(b, a);
#pragma unroll
      for (int i = 0; i < S; ++i) {
        a[i] = u_[i] * (gu[i] - u_[i] * a[i]) * inverse(r_[i]);
        gu[i] = 0;
      }
#pragma unroll
      for (int e = 0; e < S * S; ++e) d[e] -= fused(a[e / S], v_[e % S], u_[e / S] * b[e % S]);
      of_columns(a, gv);
#pragma unroll
      for (int j = 0; j < S; ++j) gv[j] = -v_[j] * gv[j];
    }
#pragma unroll
    for (int e = 0; e < S * S; ++e) k_[e] = d[e] * (w_.matrix ? scale : k_[e] * scale);
  }

  const Work& w_;
  C* const kept_;
  Square k_;
  C r_[S], c_[S], u_[S], v_[S];
};

template <class C, bool kGradient>
__global__ void __launch_bounds__(kLaneThreads)
    sinkhorn_knopp_lanes_kernel(const __grid_constant__ Work work) {
  const int64_t matrix = cuda::block_index() * kLaneThreads + cuda::thread_index();
  if (matrix < work.matrices.batch)
    Lane<C, kGradient>(work, kGradient ? &cuda::shared<C>() : nullptr).run(matrix);
}

}  // namespace surprisal::sinkhorn_knopp
