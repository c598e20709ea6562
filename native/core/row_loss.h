// The loss of one row of logits and its derivative, from a few sums over the row: one definition
// for every operation that ends in a softmax. With z the logits after bias, temperature and
// softcap, p = softmax(z), y the target, w the class weights and W their sum,
//   L = -log p_y = log(1 + others e^-target),  lse = max + log(others + e^target)
//   row = (1-s) w_y f(L) + s/V sum_c w_c (lse - z_c) + z_loss lse^2
//   d row/dz_c = A p_c - B w_c  for c != y,  A = (1-s) w_y f'(L) + s/V W + 2 z_loss lse,  B = s/V
// `others` leaves the target out, so that L and d row/dz_y keep their digits as p_y nears 1.
// f: focal loss (Lin et al. 2017), generalized (Zhang & Sabuncu 2018), comp-sum (Mao et al. 2023).
// A row's few scalars are double whatever the dtype: they cost nothing beside its V exponentials.
#pragma once
#include <cmath>
#include <cstdint>

#include "core/portable.h"

namespace surprisal {

// In kernels these are called, not inlined: once a row their time is nothing, but every copy of
// them is compiled for every kernel. pow takes more registers there than everything else of a row.
#if defined(__CUDACC__)
#define SP_CALLED __noinline__
#else
#define SP_CALLED
#endif
namespace row_math {
inline SP_HOST_DEVICE SP_CALLED double exp(double x) { return std::exp(x); }
inline SP_HOST_DEVICE SP_CALLED double expm1(double x) { return std::expm1(x); }
inline SP_HOST_DEVICE double log(double x) { return std::log(x); }
// In kernels within 2 ulp: the exact quotient has a slow path, which needs registers of its own.
inline SP_HOST_DEVICE SP_CALLED double divide(double a, double b) {
#if defined(__CUDA_ARCH__)
  if (!(std::fabs(b) < 1e300)) return b != b ? b : a * 0;
  double r;
  asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(r) : "d"(b));  // 20 bits, doubled twice
  r = std::fma(r, std::fma(-b, r, 1.0), r);
  r = std::fma(r, std::fma(-b, r, 1.0), r);
  return a * r;
#else
  return a / b;
#endif
}
inline SP_HOST_DEVICE SP_CALLED double log1p(double x) {
#if defined(__CUDA_ARCH__)
  const double u = 1 + x;  // what its rounding took away is put back to first order
  return u < 1e300 ? log(u) + divide(x - (u - 1), u) : log(u);
#else
  return std::log1p(x);
#endif
}
// x^k for 0 < x <= 1.
inline SP_HOST_DEVICE double pow(double x, double k) {
#if defined(__CUDA_ARCH__)
  return exp(k * log(x));
#else
  return std::pow(x, k);
#endif
}
}  // namespace row_math

enum class Reduction : int32_t { none, mean, sum };

enum class Epilogue : int32_t {
  identity,  // L
  focal,     // (1-e^-L)^k L
  power,     // (1-e^(-kL))/k: generalized with k = q, comp-sum with k = tau-1; k = 0 is L
};

struct RowOptions {
  double label_smoothing = 0;
  double z_loss = 0;
  Epilogue epilogue = Epilogue::identity;
  double epilogue_k = 0;
};

// z as a function of the raw logit x: in x, or with a softcap out tanh(in x).
struct LogitMap {
  double in = 1, out = 1;
  bool capped = false;

  SP_HOST_DEVICE bool identity() const { return !capped && in == 1; }
};

// softcap <= 0 stands for none.
inline SP_HOST_DEVICE LogitMap logit_map(double temperature, double softcap, bool cap_first) {
  if (!(softcap > 0)) return {1 / temperature, 1, false};
  return cap_first ? LogitMap{1 / softcap, softcap / temperature, true}
                   : LogitMap{1 / (temperature * softcap), softcap, true};
}

inline SP_HOST_DEVICE double map_logit(const LogitMap& map, double x) {
  return map.capped ? map.out * std::tanh(map.in * x) : map.in * x;
}

// dz/dx. 4E/(1+E)^2 keeps the digits that 1 - tanh^2 loses where the cap saturates.
inline SP_HOST_DEVICE double map_slope(const LogitMap& map, double x) {
  if (!map.capped) return map.in;
  const double e = row_math::exp(-2 * std::fabs(map.in * x));
  return row_math::divide(map.in * map.out * 4 * e, (1 + e) * (1 + e));
}

struct RowSums {
  double max;        // largest z of the row, the target's included
  double others;     // sum over c != y of e^(z_c - max)
  double target;     // z_y - max
  double below = 0;  // sum_c w_c (max - z_c), read with label smoothing only; w_c = 1 if none
};

struct RowWeights {
  double target = 1;   // w_y
  double sum = 1;      // W: V without class weights; read with label smoothing only
  double classes = 1;  // V
};

struct RowLoss {
  double loss;
  double lse;
  double surprisal;  // L
};

// What every class needs: dz_c = p e^(z_c - max) - w w_c, and dz_y = target.
struct RowSlope {
  double p;
  double w;
  double target;
};

// e^target, log(others + own) and L, each to its own relative accuracy.
struct RowLogs {
  double own, sum, surprisal;
};

inline SP_HOST_DEVICE RowLogs row_logs(const RowSums& row) {
  const double own = row.target == 0 ? 1 : row_math::exp(row.target);
  if (row.others < own) {
    const double surprisal = row_math::log1p(row_math::divide(row.others, own));
    return {own, row.target + surprisal, surprisal};
  }
  const double sum = row_math::log(row.others + own);
  return {own, sum, sum - row.target};
}

inline SP_HOST_DEVICE double row_surprisal(const RowSums& row) { return row_logs(row).surprisal; }
inline SP_HOST_DEVICE double row_lse(const RowSums& row) { return row.max + row_logs(row).sum; }

inline SP_HOST_DEVICE double epilogue_value(const RowOptions& o, double L) {
  const double k = o.epilogue_k;
  if (o.epilogue == Epilogue::identity || k == 0) return L;
  if (o.epilogue == Epilogue::power) return row_math::divide(-row_math::expm1(-k * L), k);
  return L == 0 ? 0 : row_math::pow(-row_math::expm1(-L), k) * L;
}

inline SP_HOST_DEVICE double epilogue_slope(const RowOptions& o, double L) {
  const double k = o.epilogue_k;
  if (o.epilogue == Epilogue::identity || k == 0) return 1;
  const double p = row_math::exp(-L);
  if (o.epilogue == Epilogue::power) return row_math::exp(-k * L);
  if (L == 0) return 0;
  const double wrong = -row_math::expm1(-L);
  return row_math::pow(wrong, k) + (p == 0 ? 0 : k * row_math::pow(wrong, k - 1) * p * L);
}

inline SP_HOST_DEVICE RowLoss row_loss(const RowOptions& o, const RowSums& row,
                                       const RowWeights& w) {
  const RowLogs logs = row_logs(row);
  RowLoss out{0, row.max + logs.sum, logs.surprisal};
  // A weight of 0 takes the class out, also where its probability is 0 and L infinite.
  const double share = (1 - o.label_smoothing) * w.target;
  if (share != 0 || std::isnan(out.surprisal)) out.loss = share * epilogue_value(o, out.surprisal);
  if (o.label_smoothing != 0)
    out.loss += row_math::divide(o.label_smoothing, w.classes) * (w.sum * logs.sum + row.below);
  if (o.z_loss != 0) out.loss += o.z_loss * out.lse * out.lse;
  return out;
}

// The derivative of scale * row, scale being upstream gradient x token weight / denominator.
inline SP_HOST_DEVICE RowSlope row_slope(const RowOptions& o, const RowSums& row,
                                         const RowWeights& w, double scale) {
  const double own = row.target == 0 ? 1 : row_math::exp(row.target);
  const double inverse = row_math::divide(1, row.others + own);
  const double smooth = row_math::divide(o.label_smoothing, w.classes);
  double share = (1 - o.label_smoothing) * w.target;
  if (o.epilogue != Epilogue::identity) share *= epilogue_slope(o, row_surprisal(row));
  double rest = smooth == 0 ? 0 : smooth * w.sum;
  if (o.z_loss != 0) rest += 2 * o.z_loss * row_lse(row);
  RowSlope out;
  out.p = scale * (share + rest) * inverse;
  out.w = scale * smooth;
  out.target = scale * ((rest * own - share * row.others) * inverse - smooth * w.target);
  // A logit of -inf moves nothing, unless its row is poisoned.
  if (row.target == -INFINITY && row.others > 0) out.target = 0;
  return out;
}

}  // namespace surprisal
