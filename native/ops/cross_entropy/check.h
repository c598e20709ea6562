// What every form of the operation asserts of its views; wrong values are found elsewhere.
#pragma once
#include <cmath>
#include <cstdio>
#include <string>

#include "ops/cross_entropy/rows.h"

namespace surprisal::cross_entropy {

inline void check(const Problem& op, int64_t stats) {
  const int64_t all = op.rows * op.classes;
  require(op.rows >= 0 && op.classes >= 0, "crossEntropy: negative size");
  require(op.logits.size == all, "crossEntropy: size of logits");
  require(op.target.size == (is_float(op.target.dtype) ? all : op.rows),
          "crossEntropy: size of target");
  require(!op.class_weight || op.class_weight.size == op.classes, "crossEntropy: classWeight");
  require(!op.token_weight || op.token_weight.size == op.rows, "crossEntropy: tokenWeight");
  require(stats == op.rows * kStats, "crossEntropy: size of rowStats");
}

inline void check_result(const View& result, int64_t size, DType dtype) {
  require(!result || (result.size == size && result.dtype == dtype), "crossEntropy: result");
}

inline DType loss_dtype(const Problem& op) {
  return op.logits.dtype == DType::f64 ? DType::f64 : DType::f32;
}

inline bool reduced(const Problem& op) {
  return static_cast<Reduction>(op.reduction) != Reduction::none;
}

inline void check(const Forward& op) {
  check(op, op.row_stats ? op.row_stats.size : op.rows * kStats);
  check_result(op.loss, reduced(op) ? 1 : op.rows, loss_dtype(op));
  check_result(op.grad_logits, op.logits.size, op.logits.dtype);
}

inline void check(const Backward& op) {
  check(op, op.row_stats.size);
  check_result(op.upstream, reduced(op) ? 1 : op.rows, loss_dtype(op));
  check_result(op.grad_logits, op.logits.size, op.logits.dtype);
  check_result(op.grad_target, op.target.size, op.target.dtype);
  check_result(op.grad_token_weight, op.rows, op.token_weight.dtype);
}

inline void check(const Scale& op) {
  check_result(op.out, op.grad.size, op.grad.dtype);
  require(op.upstream.size == 1, "crossEntropy: size of upstream");
}

// How a bad value is worded, wherever it is found.
[[noreturn]] inline void refuse_target(int64_t value, int64_t row, int64_t classes,
                                       int64_t ignore) {
  throw Error(Code::out_of_range, "crossEntropy: expected target in [0, " +
                                      std::to_string(classes) + ") or ignoreIndex " +
                                      std::to_string(ignore) + ", got " + std::to_string(value) +
                                      " at row " + std::to_string(row));
}
[[noreturn]] inline void refuse_class_weight(double value, int64_t at) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  throw Error(Code::invalid_value,
              std::string("crossEntropy: expected classWeight to hold no negative number, got ") +
                  (std::isnan(value) ? "NaN" : text) + " at class " + std::to_string(at));
}
[[noreturn]] inline void refuse_token_weight(int64_t row) {
  throw Error(
      Code::invalid_value,
      "crossEntropy: expected tokenWeight to hold no NaN, got NaN at row " + std::to_string(row));
}

}  // namespace surprisal::cross_entropy
