// Losses of rows, weighted and reduced: sum, or sum over the sum of weights, or row by row. Rows of
// weight 0 add nothing, not even their NaN.
#pragma once
#include <cmath>
#include <limits>
#include <string>

#include "core/row_loss.h"
#include "core/scratch.h"
#include "core/values.h"

namespace surprisal {

class TokenMean {
 public:
  // Weights (rows) of any float dtype, or absent; NaN among them throws. Where `label` (rows) is
  // given, rows of label -1 are ignored: of weight 0.
  TokenMean(const char* op, const View& weight, int64_t rows, int32_t reduction,
            const int64_t* label = nullptr)
      : weight_(weight), label_(label), rows_(rows), reduction_(static_cast<Reduction>(reduction)) {
    require(!weight || weight.size == rows, op);
    for (int64_t n = 0; weight && n < rows; ++n) {
      if (!std::isnan(value_of(weight, n))) continue;
      throw Error(Code::invalid_value,
                  std::string(op) + ": expected tokenWeight to hold no NaN, got NaN at row " +
                      std::to_string(n));
    }
    for (int64_t n = 0; n < rows && reduction_ == Reduction::mean; ++n) total_ += this->weight(n);
    if (reduction_ != Reduction::mean) total_ = 1;
  }

  bool reduced() const { return reduction_ != Reduction::none; }
  int64_t outputs() const { return reduced() ? 1 : rows_; }
  bool ignored(int64_t n) const { return label_ && label_[n] < 0; }
  double weight(int64_t n) const {
    if (ignored(n)) return 0;
    return weight_ ? value_of(weight_, n) : 1;
  }
  double inverse() const { return total_ == 0 ? 0 : 1 / total_; }
  // The derivative of the result by row n, for its upstream gradient.
  double scale(int64_t n, const View& upstream) const {
    return value_of(upstream, reduced() ? 0 : n) * inverse() * weight(n);
  }

  // loss(n): of row n, before its weight.
  template <class F>
  void write(F&& loss, const View& out) const {
    if (!reduced()) {
      for (int64_t n = 0; n < rows_; ++n) set_value(out, n, share(loss, n));
    } else {
      const double none = std::numeric_limits<double>::quiet_NaN();
      set_value(out, 0, total_ == 0 ? none : sum(loss) / total_);
    }
  }
  template <class F>
  void differentiate_weights(F&& loss, const View& upstream, const View& grad) const {
    if (!grad) return;
    const double mean = reduction_ == Reduction::mean ? sum(loss) * inverse() : 0;
    for (int64_t n = 0; n < rows_; ++n) {
      const double slope = value_of(upstream, reduced() ? 0 : n) * inverse();
      set_value(grad, n, slope == 0 || ignored(n) ? 0 : slope * (loss(n) - mean));
    }
  }

 private:
  template <class F>
  double share(F&& loss, int64_t n) const {
    const double w = weight(n);
    return w == 0 ? 0 : w * loss(n);
  }
  template <class F>
  double sum(F&& loss) const {
    double total = 0;
    for (int64_t n = 0; n < rows_; ++n) total += share(loss, n);
    return total;
  }

  const View weight_;
  const int64_t* const label_;
  const int64_t rows_;
  const Reduction reduction_;
  double total_ = 0;
};

}  // namespace surprisal
