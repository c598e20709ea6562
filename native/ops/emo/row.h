// A row of the earth mover loss and its derivative, from a few sums over its classes: what the
// forms on logits and without them share. See op.h for the formulas.
#pragma once
#include <cstdint>

#include "core/row_loss.h"

namespace surprisal::emo {

enum class Combination : int32_t { emo, emo1, emo2 };

struct RowRules {
  Combination combination = Combination::emo;
  bool plain = false;             // count the label's own probability
  double floor = 0, ceiling = 0;  // of the distance and of the ratio; a ceiling of 0 is none
};

// With e_v = exp(z_v - max): sums over v != y, and the label's own.
struct RowTotals {
  double max = 0, others = 0, target = 0;  // z_y - max
  double near = 0;                         // sum over v != y of e_v cos(v, y)
  double own_cosine = 1;                   // cos(y, y): 1, or 0 for an embedding of zeros
};

struct RowValue {
  double loss;
  // dz_k = e_k (p + q cos(k, y)) for k != y, dz_y = own
  double p, q, own;
};

inline SP_HOST_DEVICE RowValue row_value(const RowRules& rules, const RowTotals& row) {
  using row_math::divide;
  const double own = row_math::exp(row.target), sum = row.others + own;
  const double mle = row_surprisal({row.max, row.others, row.target});
  const double q = divide(own, sum), near = divide(row.near + own * row.own_cosine, sum);
  const double distance = 1 - (rules.plain ? near : divide(row.near, sum));
  const bool live = !(distance < rules.floor);
  const double low = live ? distance : rules.floor;
  const auto bounded = [&](double ratio) {
    return rules.ceiling > 0 && ratio > rules.ceiling ? rules.ceiling : ratio;
  };
  double loss = low, a = 0, b = live;  // dloss = a dmle + b demo
  if (rules.combination == Combination::emo1) {
    const double ratio = bounded(divide(mle, low + 1e-10));
    loss = 0.5 * (ratio * low + mle);
    a = 0.5;
    b *= 0.5 * ratio;
  } else if (rules.combination == Combination::emo2) {
    const double ratio = bounded(divide(low, mle + 1e-10));
    loss = ratio * mle + low;
    a = ratio;
  }
  // The label's own probability is a constant only in the value.
  const double slope = -divide(a * row.others, sum) - b * q * (row.own_cosine - near);
  return {loss, divide(a + b * near, sum), divide(-b, sum), slope};
}

}  // namespace surprisal::emo
