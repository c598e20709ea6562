// What CUDA kernels know of a row beside its logits: target, weights, scale of its gradient; and
// its loss and slope from the sums over it, as in kernels.h. Scalars are double: a few a row.
#pragma once
#include <cmath>
#include <limits>

#include "cuda/logit_map.h"
#include "cuda/numbers.h"
#include "cuda/rows.h"
#include "ops/cross_entropy/op.h"

namespace surprisal::cross_entropy {

using cuda::load;
using cuda::Numbers;
using cuda::NumbersOut;
using cuda::store;

// A row's sums, as saved for backward: the four doubles of op.h's row_stats.
struct DeviceStats {
  double max;
  double others;
  double loss;
  double weight;
};

// Sums over rows and classes, made on the device before the kernels that need them.
struct Totals {
  double denominator;  // of the mean
  double classes;      // sum of the class weights
  double loss;         // of the rows, weighted
};

struct Targets {
  const void* data = nullptr;
  DType dtype = DType::i32;
  int64_t classes = 0, ignore = 0;
  cuda::FaultSite fault{};

  SP_HOST_DEVICE bool soft() const { return is_float(dtype); }
  // Of a row; probabilities have none.
  __device__ int64_t operator[](int64_t row) const {
    if (soft()) return 0;
    if (dtype == DType::i64) return load(static_cast<const int64_t*>(data) + row);
    return load(static_cast<const int32_t*>(data) + row);
  }
  __device__ bool inside(int64_t y) const { return y >= 0 && y < classes; }
  // Bad targets count as ignored: nothing is read there.
  __device__ bool ignored(int64_t y) const { return !soft() && (y == ignore || !inside(y)); }
  __device__ void check(int64_t row, int64_t y) const {
    if (!soft() && y != ignore && !inside(y)) cuda::report_fault(fault, row, y, classes, ignore);
  }
};

struct RowContext {
  Targets targets;
  Numbers class_weight, token_weight;  // absent: all 1
  int64_t rows = 0, classes = 0;
  Reduction reduction = Reduction::mean;
  RowOptions options;
  LogitMap map;
  double k = 1;                    // what is left of the temperature after the softcap
  const Totals* totals = nullptr;  // where the mean or class weights need them
  Numbers upstream;                // absent: 1
  DeviceStats* stats = nullptr;    // (N), may be absent
  NumbersOut loss;                 // (N), without a reduction

  // What a row adds to the denominator of the mean.
  __device__ double weight_of(int64_t row) const {
    const int64_t y = targets[row];
    if (targets.ignored(y)) return 0;
    return targets.soft() ? token_weight.weight(row)
                          : class_weight.weight(y) * token_weight.weight(row);
  }
  // d(loss)/d(row before its token weight), token weight left out.
  __device__ double scale_of(int64_t row) const {
    double up = 1;
    if (upstream.data) up = upstream[reduction == Reduction::none ? row : 0];
    if (reduction != Reduction::mean) return up;
    const double denominator = load(&totals->denominator);
    return denominator == 0 ? 0 : row_math::divide(up, denominator);
  }
  __device__ RowWeights row_weights(int64_t y) const {
    const bool summed = class_weight.data && options.label_smoothing != 0;
    return {class_weight.weight(y), summed ? load(&totals->classes) : double(classes),
            double(classes)};
  }
};

// The logit after the softcap, before what is left of the temperature; dz/dx with both.
template <class Real>
inline __device__ Real map_element(const LogitMap& map, Real x, Real* slope) {
  if (!map.capped) {
    *slope = static_cast<Real>(map.in);
    return x;
  }
  Real derivative;
  const Real t = cuda::tanh_of_cap(static_cast<Real>(map.in) * x, &derivative);
  *slope = static_cast<Real>(map.in * map.out) * derivative;
  return static_cast<Real>(map.out) * t;
}
template <class Real>
inline __device__ Real map_element(const LogitMap& map, Real x) {
  Real slope;
  return map_element(map, x, &slope);
}

// The row's sums in double: with probabilities `others` leaves one of the largest out. `target` is
// the target's logit as map_element() gives it.
template <class Real>
inline __device__ RowSums row_sums(const RowContext& c, double max, double others, Real target,
                                   double below) {
  if (c.targets.soft()) return {max * c.k, others, 0, below};
  return {max * c.k, others, (double(target) - max) * c.k, below};
}

template <class Real>
inline __device__ DeviceStats row_stats(const RowContext& c, int64_t y, Real target, double max,
                                        double sum, double largest, double below, double weight) {
  const bool soft = c.targets.soft();
  DeviceStats out{max, soft ? sum + (largest - 1) : sum, 0, weight};
  RowSums row = row_sums(c, max, out.others, target, below);
  // An infinite logit, or none but -inf: one of them may hide as the target or the largest.
  const bool none =
      max == std::numeric_limits<Real>::lowest() && sum + largest == 0 && (soft || row.target != 0);
  if (none || max > std::numeric_limits<Real>::max())
    row.others = out.others = std::numeric_limits<double>::quiet_NaN();
  if (soft) {
    const double log_sum = row_math::log1p(out.others);
    const double lse = row.max + log_sum, z = c.options.z_loss;
    out.loss = weight * log_sum + below + (z != 0 ? z * lse * lse : 0);
  } else {
    out.loss = row_loss(c.options, row, c.row_weights(y)).loss;
  }
  return out;
}

// What the gradient of a row's elements is made from; see kernels.h and blocks.h.
template <class Real>
struct DeviceSlope {
  Real max = 0, p = 0, w = 0;
  Real q_sum = 0, largest = 0;  // `sure`: a class of largest logit gets w (q_sum - q) + largest
  Real target = 0;              // d row/d x at the target
  int32_t sure = 0;
  int32_t zero = 0;  // exactly 0, whatever the row holds
};

template <class Real>
inline __device__ DeviceSlope<Real> row_gradient(const RowContext& c, int64_t row, int64_t y,
                                                 Real x_target, const DeviceStats& s) {
  DeviceSlope<Real> out;
  const double scale = c.targets.ignored(y) ? 0 : c.scale_of(row);
  if (scale == 0) {
    out.zero = 1;
    return out;
  }
  const double tokens = scale * c.token_weight.weight(row);
  out.max = static_cast<Real>(s.max);
  const RowSums sums = row_sums(c, s.max, s.others, map_element(c.map, x_target), 0);
  if (!c.targets.soft()) {
    const RowSlope r = row_slope(c.options, sums, c.row_weights(y), tokens);
    out.p = static_cast<Real>(r.p);
    out.w = static_cast<Real>(r.w);
    out.target =
        std::isnan(out.p) ? out.p : static_cast<Real>(r.target * map_slope(c.map, x_target));
    return out;
  }
  const double inverse = row_math::divide(1, 1 + s.others);
  const double rest = c.options.z_loss != 0 ? 2 * c.options.z_loss * row_lse(sums) : 0;
  out.p = static_cast<Real>(tokens * (s.weight + rest) * inverse);
  out.w = static_cast<Real>(tokens);
  out.q_sum = static_cast<Real>(s.weight);
  out.largest = static_cast<Real>(tokens * (rest - s.weight * s.others) * inverse);
  out.sure = s.others < 1 && !std::isnan(out.p);
  return out;
}

}  // namespace surprisal::cross_entropy
