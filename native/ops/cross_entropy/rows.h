// What every row of a problem needs before its logits are read: targets, weights, denominator.
#pragma once
#include <vector>

#include "core/scratch.h"
#include "ops/cross_entropy/op.h"

namespace surprisal::cross_entropy {

constexpr int64_t kIgnored = -1;
constexpr int64_t kStats = 4;  // doubles a row in row_stats

// A row's sums, as saved for backward.
struct Stats {
  double max;     // largest logit, after the softcap and before the temperature
  double others;  // sum of e^(z - max z) without the target, or without one class of largest z
  double loss;    // before the token weight
  double weight;  // probability targets: sum of q
};

class Rows {
 public:
  explicit Rows(const Problem& op);  // checks all values

  bool soft() const { return soft_; }
  int64_t target(int64_t n) const { return soft_ ? 0 : target_[n]; }
  bool ignored(int64_t n) const { return !soft_ && target_[n] == kIgnored; }
  double class_weight(int64_t c) const { return class_weight_.data() ? class_weight_[c] : 1; }
  double token_weight(int64_t n) const { return token_weight_.data() ? token_weight_[n] : 1; }
  double class_weight_sum() const { return class_weight_sum_; }
  // What row n adds to the denominator of the mean.
  double weight(int64_t n) const {
    if (ignored(n)) return 0;
    return soft_ ? token_weight(n) : class_weight(target_[n]) * token_weight(n);
  }
  double denominator() const { return denominator_; }
  // d(loss)/d(row n before its token weight), token weight left out.
  double scale(double upstream) const {
    if (reduction_ != Reduction::mean) return upstream;
    return denominator_ == 0 ? 0 : upstream / denominator_;
  }

 private:
  bool soft_;
  Reduction reduction_;
  Scratch<int64_t> target_;
  Scratch<double> class_weight_, token_weight_;
  double class_weight_sum_, denominator_ = 0;
};

}  // namespace surprisal::cross_entropy
