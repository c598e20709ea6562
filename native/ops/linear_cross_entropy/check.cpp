#include "ops/linear_cross_entropy/check.h"

#include <cmath>
#include <cstdio>

#include "ops/linear_cross_entropy/row_state.h"

namespace surprisal::linear_cross_entropy {

void check_linear(const Linear& op, const char* name) {
  const auto fact = [&](bool ok) { require(ok, name); };
  fact(op.batch >= 0 && op.length >= 0 && op.width >= 0 && op.classes >= 0);
  fact(op.shift >= 0 && (op.shift < op.length || op.length == 0));
  fact(is_float(op.x.dtype));
  fact(op.x.size == op.batch * op.length * op.width);
  fact(op.weight.size == op.classes * op.width && op.weight.dtype == op.x.dtype);
  fact(!op.bias || (op.bias.size == op.classes && op.bias.dtype == op.x.dtype));
}

void check_targets(const Scored& op, const char* name) {
  require(op.target.size == op.batch * op.length, name);
  const int64_t scored = op.batch * (op.length - op.shift);
  require(!op.row_sums || op.row_sums.size == scored * kRowState, name);
}

void check_gradients(const Linear& op, const Gradients& to, const char* name) {
  const auto like = [&](const View& gradient, int64_t size) {
    require(!gradient || (gradient.size == size && gradient.dtype == op.x.dtype), name);
  };
  like(to.dx, op.x.size);
  like(to.dbias, op.classes);
  if (!to.add_to_dweight) return like(to.dweight, op.weight.size);
  require(to.dweight.dtype == DType::f32 && to.dweight.size == op.weight.size, name);
}

void require_workspace(const char* name, int64_t minimum, int64_t given) {
  if (given >= minimum) return;
  throw Error(Code::invalid_value,
              std::string(name) + ": expected workspaceBytes to be >= " + std::to_string(minimum) +
                  " for these shapes, got " + std::to_string(given));
}

std::string text_of(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", x);
  return std::isnan(x) ? "NaN" : text;
}

void stored_bytes(const StoredQuery& op) { *op.bytes.as<double>() = 0; }

void check_loss(const Loss& op) {
  constexpr const char* kName = "linearCrossEntropy";
  check_linear(op, kName);
  check_targets(op, kName);
  require(!op.class_weight || op.class_weight.size == op.classes,
          "linearCrossEntropy: classWeight");
  require(!op.token_weight || op.token_weight.size == op.batch * op.length,
          "linearCrossEntropy: tokenWeight");
  check_gradients(op, op, kName);
  require(!op.filter_report || op.filter_report.size == 3, "linearCrossEntropy: filterReport");
}

void refuse_target(const char* name, int64_t value, int64_t row, int64_t classes,
                   int64_t ignore_index) {
  throw Error(Code::out_of_range, std::string(name) + ": expected target in [0, " +
                                      (classes ? std::to_string(classes) : "V") +
                                      ") or ignoreIndex " + std::to_string(ignore_index) +
                                      ", got " + std::to_string(value) + " at row " +
                                      std::to_string(row));
}

void refuse_class_weight(double value, int64_t at) {
  throw Error(Code::invalid_value,
              "linearCrossEntropy: expected classWeight to hold no negative number, got " +
                  text_of(value) + " at class " + std::to_string(at));
}

void refuse_token_weight(int64_t row) {
  throw Error(Code::invalid_value,
              "linearCrossEntropy: expected tokenWeight to hold no NaN, got NaN at row " +
                  std::to_string(row));
}

}  // namespace surprisal::linear_cross_entropy
