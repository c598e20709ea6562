// What a row's states become once its spans are merged, and the coefficients of its gradient: some
// hundred instructions a row in double.
#include <cmath>
#include <limits>

#include "ops/linear_cross_entropy/log_values.h"
#include "ops/linear_cross_entropy/rows_device.h"

namespace surprisal::linear_cross_entropy {
namespace {

using namespace cuda;

constexpr int kThreads = 128;
constexpr int kUnitThreads = 256;

template <class A>
__device__ inline SpanState<A> span_state(const FinishWork& work, int64_t span, int64_t n) {
  return load(static_cast<const SpanState<A>*>(work.states) + span * work.wave.rows + n);
}

// The spans of a row in their order.
template <class A>
__device__ inline RowState merged(const FinishWork& work, int64_t n) {
  RowState s{-INFINITY, 0, 0, 0};
  for (int64_t k = 0; k < work.spans; ++k) {
    const double max = span_state<A>(work, k, n).max;
    s.max = max > s.max ? max : s.max;
  }
  s.target = double(load(static_cast<const A*>(work.target_z) + n)) - s.max;
  for (int64_t k = 0; k < work.spans; ++k) {
    const SpanState<A> part = span_state<A>(work, k, n);
    const double shift = double(part.max) - s.max;
    const double scale = row_math::exp(shift);
    s.others += part.others * scale;
    if (work.extra == Extra::total) s.extra += part.extra;
    if (work.extra == Extra::entropy && scale != 0)
      s.extra += scale * (part.extra + shift * part.others);
    if (work.extra == Extra::below)
      s.extra += part.extra + (part.weight == 0 ? 0 : -shift * part.weight);
  }
  const double own = row_math::exp(s.target);
  if (work.extra == Extra::entropy && own != 0) s.extra += own * s.target;
  return s;
}

template <class A>
__device__ inline int32_t largest_class(const FinishWork& work, int64_t n) {
  double max = -INFINITY, place = 0;
  for (int64_t k = 0; k < work.spans; ++k) {
    const SpanState<A> part = span_state<A>(work, k, n);
    if (!(part.max > max)) continue;
    max = part.max;
    place = double(k * work.span) + part.others;
  }
  return static_cast<int32_t>(place);
}

__device__ inline RowWeights weights_of(const RowWork& work, int32_t y) {
  const bool summed = work.class_weight && work.options.label_smoothing != 0;
  const double classes = double(work.classes);
  return {work.class_weight.weight(y), summed ? load(&work.totals->classes) : classes, classes};
}
__device__ inline double loss_of(const RowWork& work, const RowState& s, int32_t y) {
  return row_loss(work.options, {s.max, s.others, s.target, s.extra}, weights_of(work, y)).loss;
}
__device__ inline double token_weight_of(const RowWork& work, int64_t position) {
  return work.token_weight.weight(work.kept.row(position) + work.kept.shift);
}
// d(result)/d(row before its token weight), token weight left out.
__device__ inline double scale_of(const RowWork& work, int64_t position) {
  const double up = work.upstream[work.reduction == Reduction::none ? position : 0];
  if (work.reduction != Reduction::mean) return up;
  const double denominator = load(&work.totals->denominator);
  return denominator == 0 ? 0 : up / denominator;
}

template <class A>
__global__ void __launch_bounds__(kThreads) linear_finish_kernel(FinishWork work) {
  const int64_t n = block_index() * kThreads + thread_index();
  if (n >= work.wave.live()) return;
  const int64_t at = load(work.kept.position + work.wave.first + n);
  if (work.ending == Ending::largest) return store(work.place + at, largest_class<A>(work, n));
  const RowState s = merged<A>(work, n);
  if (work.saved) store(work.saved + at, s);
  const int32_t y = load(work.kept.target + work.wave.first + n);
  if (work.ending == Ending::loss) {
    const double loss = loss_of(work, s, y);
    store(work.row_loss + work.wave.first + n, loss);
    if (work.out[0]) work.out[0].set(at, token_weight_of(work, at) * loss);
  } else if (work.ending == Ending::logprobs) {
    const LogValues v = log_values(s);
    work.out[0].set(at, -v.surprisal);
    work.out[1].set(at, v.lse);
    work.out[2].set(at, v.entropy);
  } else {
    work.out[0].set(at, s.max);
    // Relative to a maximum of -inf there is nothing to add.
    work.out[1].set(at, s.max == -INFINITY ? 0 : s.others);
    work.out[2].set(at, y < 0 ? -INFINITY : s.target + s.max);
    work.out[3].set(at, s.extra);
  }
}

__device__ inline RowCoefficients loss_slope(const RowWork& work, const RowState& s, int64_t at,
                                             int32_t y) {
  const double scale = scale_of(work, at) * token_weight_of(work, at);
  if (scale == 0) return {};
  const RowSlope r =
      row_slope(work.options, {s.max, s.others, s.target, s.extra}, weights_of(work, y), scale);
  return {s.max, r.p, 0, r.w, r.target};
}

__device__ inline RowCoefficients logprob_slope(const RowWork& work, const RowState& s,
                                                int64_t at) {
  return log_slope(s, work.upstream ? work.upstream[at] : 0, work.dlse ? work.dlse[at] : 0,
                   work.dentropy ? work.dentropy[at] : 0);
}

template <class A>
__global__ void __launch_bounds__(kThreads) linear_slope_kernel(SlopeWork work) {
  const int64_t n = block_index() * kThreads + thread_index();
  if (n >= load(work.kept.count)) return;
  const int64_t at = load(work.kept.position + n);
  const int32_t y = load(work.kept.target + n);
  RowCoefficients c;
  if (work.ending == Ending::partials) {
    c.max = load(static_cast<const float*>(work.lse) + at);
    c.p = work.upstream[at];
  } else {
    const RowState s = load(work.saved + at);
    c = work.ending == Ending::loss ? loss_slope(work, s, at, y) : logprob_slope(work, s, at);
  }
  auto* to = static_cast<Slope<A>*>(work.slopes) + n;
  store(&to->max, static_cast<A>(c.max));
  store(&to->p, static_cast<A>(c.p));
  store(&to->q, static_cast<A>(c.q));
  store(&to->w, static_cast<A>(c.w));
  store(&to->own, static_cast<A>(c.own));
  store(&to->target, y);
  if (!work.bounds) return;
  // e^-t t is at most 1/e, and the map nowhere steeper than at 0.
  const double weight = work.class_weight ? load(&work.totals->largest) : 1;
  const double bound = std::fabs(c.p) + 0.37 * std::fabs(c.q) + std::fabs(c.w) * weight;
  store(work.bounds + n, static_cast<float>(bound * work.map.in * work.map.out));
}

// One block. Rows without a finite bound have no say.
__global__ void __launch_bounds__(kUnitThreads) linear_unit_kernel(SlopeWork work) {
  const int64_t count = load(work.kept.count);
  float most = 0;
  for (int64_t n = thread_index(); n < count; n += kUnitThreads) {
    const float bound = load(work.bounds + n);
    if (bound > most && bound < std::numeric_limits<float>::infinity()) most = bound;
  }
  most = warp_max(most);
  auto* warps = &shared<float>();
  if (lane_index() == 0) store(warps + warp_index(), most);
  sync_threads();  // the warps' largest are there
  if (thread_index() > 0) return;
  for (int w = 1; w < kUnitThreads / kWarp; ++w) {
    const float other = load(warps + w);
    most = other > most ? other : most;
  }
  int exponent = 0;
  if (most > 0) std::frexp(most, &exponent);
  exponent = exponent < -100 ? -100 : exponent;
  store(work.unit, most > 0 ? std::ldexp(1.0f, 14 - exponent) : 1.0f);
}

__global__ void __launch_bounds__(kThreads) linear_row_loss_kernel(TokenWork work) {
  const int64_t n = block_index() * kThreads + thread_index();
  if (n >= load(work.kept.count)) return;
  const RowState s = load(work.saved + load(work.kept.position + n));
  store(work.row_loss + n, loss_of(work, s, load(work.kept.target + n)));
}

__global__ void __launch_bounds__(kThreads) linear_token_kernel(TokenWork work) {
  const int64_t n = block_index() * kThreads + thread_index();
  if (n >= load(work.kept.count)) return;
  const int64_t at = load(work.kept.position + n);
  const double scale = scale_of(work, at);
  if (scale == 0) return;
  double share = 0;
  if (work.reduction == Reduction::mean)
    share = load(&work.losses->loss) / load(&work.losses->denominator) *
            work.class_weight.weight(load(work.kept.target + n));
  work.out.set(work.kept.row(at) + work.kept.shift, scale * (load(work.row_loss + n) - share));
}

int64_t blocks_for(int64_t rows) { return ceil_div(rows, kThreads); }

}  // namespace

void finish_rows(const FinishWork& work, Stream& stream) {
  const Shape shape{blocks_for(work.wave.rows), kThreads};
  work.dtype == DType::f64 ? launch(stream, linear_finish_kernel<double>, shape, work)
                           : launch(stream, linear_finish_kernel<float>, shape, work);
}

void make_slopes(const SlopeWork& work, Stream& stream) {
  const Shape shape{blocks_for(work.kept.most), kThreads};
  work.dtype == DType::f64 ? launch(stream, linear_slope_kernel<double>, shape, work)
                           : launch(stream, linear_slope_kernel<float>, shape, work);
  const int64_t shared = kUnitThreads / kWarp * int64_t{sizeof(float)};
  if (work.unit) launch(stream, linear_unit_kernel, {1, kUnitThreads, shared}, work);
}

void token_gradient(const TokenWork& work, Stream& stream) {
  const Shape shape{blocks_for(work.kept.most), kThreads};
  launch(stream, linear_row_loss_kernel, shape, work);
  TotalsWork sums;
  sums.kept = work.kept;
  sums.class_weight = work.class_weight;
  sums.token_weight = work.token_weight;
  sums.row_loss = work.row_loss;
  sums.partial = work.partial;
  sums.totals = work.losses;
  add_up(sums, stream);
  launch(stream, linear_token_kernel, shape, work);
}

}  // namespace surprisal::linear_cross_entropy
