#include "ops/cross_entropy/rows.h"

#include <cmath>

#include "ops/cross_entropy/check.h"

namespace surprisal::cross_entropy {
namespace {

void widen(const View& from, double* to) {
  visit_float(from.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* data = from.as<T>();
    for (int64_t i = 0; i < from.size; ++i) {
      if constexpr (std::is_same_v<T, double>) {
        to[i] = data[i];
      } else {
        to[i] = to_float(data[i]);
      }
    }
  });
}

void read_targets(const Problem& op, int64_t* to) {
  visit_index(op.target.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* data = op.target.as<T>();
    for (int64_t n = 0; n < op.rows; ++n) {
      const int64_t y = data[n];
      if (y != op.ignore_index && (y < 0 || y >= op.classes)) {
        refuse_target(y, n, op.classes, op.ignore_index);
      }
      to[n] = y == op.ignore_index ? kIgnored : y;
    }
  });
}

}  // namespace

Rows::Rows(const Problem& op)
    : soft_(is_float(op.target.dtype)),
      reduction_(static_cast<Reduction>(op.reduction)),
      target_(soft_ ? 0 : op.rows),
      class_weight_(op.class_weight ? op.classes : 0),
      token_weight_(op.token_weight ? op.rows : 0),
      class_weight_sum_(static_cast<double>(op.classes)) {
  if (!soft_) read_targets(op, target_.data());
  if (op.class_weight) {
    widen(op.class_weight, class_weight_.data());
    class_weight_sum_ = 0;
    for (int64_t c = 0; c < op.classes; ++c) {
      if (!(class_weight_[c] >= 0)) refuse_class_weight(class_weight_[c], c);
      class_weight_sum_ += class_weight_[c];
    }
  }
  if (op.token_weight) {
    widen(op.token_weight, token_weight_.data());
    for (int64_t n = 0; n < op.rows; ++n) {
      if (std::isnan(token_weight_[n])) refuse_token_weight(n);
    }
  }
  for (int64_t n = 0; n < op.rows; ++n) denominator_ += weight(n);
}

}  // namespace surprisal::cross_entropy
