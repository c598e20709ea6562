// Strips of z and of cosines, some rows of them at a time: what a row adds up over the strips, its
// slopes, and dz. A warp has a row of a strip.
#pragma once
#include "cuda/block_sum.h"
#include "ops/emo/device_rows.h"

namespace surprisal::emo {

constexpr int kLinearThreads = 256, kLinearWarps = kLinearThreads / kWarp;

template <class A>
struct LinearState {
  Sums<A> sums;
  A target, own;  // z of the label, and its cosine
};
// dz_k = e^(z_k - max) (p + q cos(k, y)), dz_y = own; all 0 for a row that does not count.
template <class A>
struct LinearSlopes {
  A max, p, q, own;
};

// Some classes of some rows.
template <class A>
struct LinearStrip {
  A *z, *cosines;        // (rows, stride)
  const int32_t* label;  // (rows), -1: the row does not count
  int64_t rows, stride;
  int64_t first, classes;
};

// Labels and weights of the rows that count.
inline __global__ void __launch_bounds__(kLinearThreads)
    emo_linear_weights_kernel(RowContext about, int64_t rows, bool gradient, int32_t* label,
                              double* scale) {
  const int64_t n = block_index() * kLinearThreads + thread_index();
  if (n >= rows) return;
  const int32_t y = load(about.label + n);
  const double own = y < 0 ? 0 : about.scale(n, gradient);
  store(scale + n, own);
  store(label + n, own == 0 ? -1 : y);
}

// Rows of x, zeros for those that do not count: they may hold anything.
template <class T>
__global__ void __launch_bounds__(kLinearThreads)
    emo_linear_rows_kernel(const T* x, int64_t width, const int32_t* label, T* to) {
  const int64_t n = block_index();
  const bool counts = load(label + n) >= 0;
  for (int64_t d = thread_index(); d < width; d += kLinearThreads)
    store(to + n * width + d, counts ? load(x + n * width + d) : narrowed<T>(0));
}

template <class A>
__global__ void __launch_bounds__(kLinearThreads, 2)
    emo_linear_sums_kernel(LinearStrip<A> strip, LinearState<A>* states) {
  constexpr int kEach = 16 / sizeof(A);
  const int64_t n = block_index() * kLinearWarps + warp_index();
  if (n >= strip.rows) return;
  const int64_t y = load(strip.label + n);
  if (y < 0) return;
  const A *z = strip.z + n * strip.stride, *cosines = strip.cosines + n * strip.stride;
  Sums<A> sums{Sums<A>::kNone, 0, 0};
  for (int64_t c = lane_index(); c < strip.classes; c += kWarp * kEach) {
    A own[kEach], near[kEach];
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const int64_t at = c + e * kWarp;
      const bool inside = at < strip.classes;
      own[e] = inside ? load(z + at) : Sums<A>::kNone;
      near[e] = inside ? load(cosines + at) : A(0);
      if (strip.first + at != y) continue;
      store(&states[n].target, own[e]);
      store(&states[n].own, near[e]);
      own[e] = Sums<A>::kNone;
    }
    sums.add(own, near);
  }
#pragma unroll
  for (int mask = 1; mask < kWarp; mask *= 2)
    sums.merge({shuffle_xor(sums.max, mask), shuffle_xor(sums.others, mask),
                shuffle_xor(sums.near, mask)});
  if (lane_index() > 0) return;
  Sums<A>* const carried = &states[n].sums;
  if (strip.first > 0) {
    Sums<A> all{load(&carried->max), load(&carried->others), load(&carried->near)};
    all.merge(sums);
    sums = all;
  }
  store(&carried->max, sums.max);
  store(&carried->others, sums.others);
  store(&carried->near, sums.near);
}

template <class A>
__global__ void __launch_bounds__(kLinearThreads)
    emo_linear_finish_kernel(const LinearState<A>* states, const int32_t* label,
                             const double* scale, int64_t rows, RowRules rules,
                             LinearSlopes<A>* slopes, double* row_loss) {
  const int64_t n = block_index() * kLinearThreads + thread_index();
  if (n >= rows) return;
  double loss = 0;
  LinearSlopes<A> own{};
  if (load(label + n) >= 0) {
    const LinearState<A>* const s = states + n;
    const Sums<A> sums{load(&s->sums.max), load(&s->sums.others), load(&s->sums.near)};
    const RowTotals totals = sums.totals(load(&s->target), load(&s->own));
    const RowValue value = row_value(rules, totals);
    const double by = load(scale + n);
    loss = value.loss;
    own = {static_cast<A>(totals.max), static_cast<A>(value.p * by), static_cast<A>(value.q * by),
           static_cast<A>(value.own * by)};
  }
  store(&slopes[n].max, own.max);
  store(&slopes[n].p, own.p);
  store(&slopes[n].q, own.q);
  store(&slopes[n].own, own.own);
  if (row_loss) store(row_loss + n, loss);
}

// The power of two that brings the largest dz of 16 bits near 2^14; one block.
inline __global__ void __launch_bounds__(kLinearThreads)
    emo_linear_unit_kernel(const LinearSlopes<float>* slopes, int64_t rows, float* unit) {
  float most = 0;
  for (int64_t n = thread_index(); n < rows; n += kLinearThreads) {
    const float others = std::fabs(load(&slopes[n].p)) + std::fabs(load(&slopes[n].q));
    const float own = std::fabs(load(&slopes[n].own));
    most = others > most ? others : most;
    most = own > most ? own : most;
  }
  most = max_over_block(most, &shared<float>());
  if (thread_index() > 0) return;
  const bool counts = most > 0 && most <= std::numeric_limits<float>::max();
  const int exponent = counts ? 14 - std::ilogb(most) : 0;
  store(unit, std::ldexp(1.0f, exponent < 100 ? exponent : 100));
}

// dz may lie where z does. What is beyond the classes becomes 0.
template <class T>
__global__ void __launch_bounds__(kLinearThreads)
    emo_linear_slopes_kernel(LinearStrip<accumulator_t<T>> strip,
                             const LinearSlopes<accumulator_t<T>>* slopes, const float* unit,
                             T* dz) {
  using A = accumulator_t<T>;
  const int64_t n = block_index() * kLinearWarps + warp_index();
  if (n >= strip.rows) return;
  const int64_t y = load(strip.label + n), begin = n * strip.stride;
  const A max = load(&slopes[n].max), p = load(&slopes[n].p), q = load(&slopes[n].q);
  const A own = load(&slopes[n].own), by = unit ? static_cast<A>(load(unit)) : A(1);
  for (int64_t c = lane_index(); c < strip.stride; c += kWarp) {
    A x = 0;
    if (c < strip.classes && strip.first + c == y) {
      x = own;
    } else if (c < strip.classes && (p != 0 || q != 0)) {
      const A power = std::exp(load(strip.z + begin + c) - max);
      x = power * (p + q * load(strip.cosines + begin + c));
    }
    store(dz + begin + c, narrowed<T>(x * by));
  }
}

// dx of rows that do not count: products with their slopes of 0 are NaN where the weight is not
// finite.
template <class T>
__global__ void __launch_bounds__(kLinearThreads)
    emo_linear_clear_kernel(const int32_t* label, int64_t width, T* dx) {
  const int64_t n = block_index();
  if (load(label + n) >= 0) return;
  for (int64_t d = thread_index(); d < width; d += kLinearThreads)
    store(dx + n * width + d, narrowed<T>(0));
}

// Sums of 16-bit gradients, rounded once.
template <class T>
__global__ void __launch_bounds__(kLinearThreads)
    emo_linear_write_kernel(const float* sums, int64_t size, const float* unit, T* to) {
  const int64_t i = block_index() * kLinearThreads + thread_index();
  if (i < size) store(to + i, narrowed<T>(load(sums + i) / load(unit)));
}

}  // namespace surprisal::emo
