#include "core/values.h"
#include "ops/divergence/op.h"

#define SURPRISAL_BODY "ops/divergence/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::divergence {
namespace {

bool reduced(const Problem& op) { return static_cast<Reduction>(op.reduction) != Reduction::none; }
bool averaged(const Problem& op) { return static_cast<Reduction>(op.reduction) == Reduction::mean; }

void check(const Problem& op) {
  const int64_t all = op.rows * op.classes;
  require(op.student.size == all && op.teacher.size == all, "divergence: sizes of the rows");
  require(op.student.dtype == op.teacher.dtype, "divergence: dtypes differ");
  require(!op.token_weight || op.token_weight.size == op.rows, "divergence: size of tokenWeight");
  if (!op.token_weight) return;
  for (int64_t n = 0; n < op.rows; ++n) {
    if (!std::isnan(value_of(op.token_weight, n))) continue;
    throw Error(
        Code::invalid_value,
        "divergence: expected tokenWeight to hold no NaN, got NaN at row " + std::to_string(n));
  }
}

double weight(const Problem& op, int64_t n) {
  return op.token_weight ? value_of(op.token_weight, n) : 1;
}

double denominator(const Problem& op) {
  if (!averaged(op)) return 1;
  double sum = 0;
  for (int64_t n = 0; n < op.rows; ++n) sum += weight(op, n);
  return sum;
}

// A row of weight 0 adds nothing, not even its NaN.
double share(const Problem& op, const PairSums* rows, int64_t n) {
  const double w = weight(op, n);
  return w == 0 ? 0 : w * rows[n].loss;
}

double total(const Problem& op, const PairSums* rows) {
  double sum = 0;
  for (int64_t n = 0; n < op.rows; ++n) sum += share(op, rows, n);
  return sum;
}

constexpr int64_t kStats = sizeof(PairSums) / sizeof(double);

}  // namespace

void forward(const Forward& op) {
  check(op);
  require(!op.row_stats || op.row_stats.size == op.rows * kStats, "divergence: size of rowStats");
  require(op.loss.size == (reduced(op) ? 1 : op.rows), "divergence: size of loss");
  Scratch<PairSums> own(op.row_stats ? 0 : op.rows);
  auto* rows = op.row_stats ? reinterpret_cast<PairSums*>(op.row_stats.as<double>()) : own.data();
  SURPRISAL_DISPATCH(divergence::forward, op, rows);
  if (!reduced(op)) {
    for (int64_t n = 0; n < op.rows; ++n) set_value(op.loss, n, share(op, rows, n));
    return;
  }
  const double by = denominator(op);
  const bool empty = averaged(op) && by == 0;
  set_value(op.loss, 0, empty ? std::numeric_limits<double>::quiet_NaN() : total(op, rows) / by);
}

void backward(const Backward& op) {
  check(op);
  require(op.row_stats.size == op.rows * kStats, "divergence: size of rowStats");
  require(op.upstream.size == (reduced(op) ? 1 : op.rows), "divergence: size of upstream");
  const auto* rows = reinterpret_cast<const PairSums*>(op.row_stats.as<double>());
  const double by = denominator(op);
  const double inverse = by == 0 ? 0 : 1 / by;
  const Scratch<double> scale(op.rows);
  for (int64_t n = 0; n < op.rows; ++n)
    scale[n] = value_of(op.upstream, reduced(op) ? 0 : n) * inverse * weight(op, n);
  if (op.grad_student || op.grad_teacher)
    SURPRISAL_DISPATCH(divergence::backward, op, rows, scale.data());
  if (!op.grad_token_weight) return;
  const double mean = averaged(op) ? total(op, rows) * inverse : 0;
  for (int64_t n = 0; n < op.rows; ++n) {
    const double slope = value_of(op.upstream, reduced(op) ? 0 : n) * inverse;
    set_value(op.grad_token_weight, n, slope == 0 ? 0 : slope * (rows[n].loss - mean));
  }
}

}  // namespace surprisal::divergence
