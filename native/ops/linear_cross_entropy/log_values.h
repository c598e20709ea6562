// linearLogprobs of one row: p = softmax(z), S = sum of e^(z - max), log p = z - max - log S,
//   d logprob/dz = 1_y - p,  d lse/dz = p,  dH/dz = -p (log p + H).
#pragma once
#include "core/row_loss.h"
#include "ops/linear_cross_entropy/row_state.h"

namespace surprisal::linear_cross_entropy {

struct LogValues {
  double surprisal, lse, entropy, log_sum, sum, own;
};
inline SP_HOST_DEVICE LogValues log_values(const RowState& s) {
  const RowSums sums{s.max, s.others, s.target, 0};
  LogValues v;
  v.own = row_math::exp(s.target);
  v.sum = s.others + v.own;
  v.log_sum = v.own == 1 ? row_math::log1p(s.others) : row_math::log(v.sum);
  v.lse = row_lse(sums);
  v.surprisal = row_surprisal(sums);
  v.entropy = v.log_sum - s.extra / v.sum;
  return v;
}

// From the gradients of logprob, lse and entropy.
inline SP_HOST_DEVICE RowCoefficients log_slope(const RowState& s, double logprob, double lse,
                                                double entropy) {
  if (logprob == 0 && lse == 0 && entropy == 0) return {};
  const LogValues v = log_values(s);
  RowCoefficients c;
  c.max = s.max;
  c.p = (lse - logprob - (entropy == 0 ? 0 : entropy * (v.entropy - v.log_sum))) / v.sum;
  c.q = -entropy / v.sum;
  const double p = v.own / v.sum;
  c.own = logprob * s.others / v.sum + p * lse;
  if (entropy != 0 && v.own != 0) c.own -= p * entropy * (v.entropy - v.surprisal);
  return c;
}

}  // namespace surprisal::linear_cross_entropy
