#include "core/values.h"
#include "ops/cross_entropy/check.h"

#define SURPRISAL_AVX512
#define SURPRISAL_BODY "ops/cross_entropy/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::cross_entropy {
namespace {

// The sum over all rows that the reduction starts from, in their order.
double total(const Rows& rows, const Stats* stats, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i)
    if (!rows.ignored(i)) sum += rows.token_weight(i) * stats[i].loss;
  return sum;
}

}  // namespace

void forward(const Forward& op) {
  Scratch<Stats> own(op.row_stats ? 0 : op.rows);
  check(op);
  const Rows rows(op);
  Stats* stats = op.row_stats ? reinterpret_cast<Stats*>(op.row_stats.as<double>()) : own.data();
  SURPRISAL_DISPATCH(cross_entropy::forward, op, rows, stats);
  if (reduced(op)) {
    const double sum = total(rows, stats, op.rows);
    const bool mean = static_cast<Reduction>(op.reduction) == Reduction::mean;
    const double empty = std::numeric_limits<double>::quiet_NaN();
    set_value(op.loss, 0, !mean ? sum : rows.denominator() == 0 ? empty : sum / rows.denominator());
    return;
  }
  for (int64_t n = 0; n < op.rows; ++n)
    set_value(op.loss, n, rows.ignored(n) ? 0 : rows.token_weight(n) * stats[n].loss);
}

void backward(const Backward& op) {
  check(op);
  const Rows rows(op);
  const auto* stats = reinterpret_cast<const Stats*>(op.row_stats.as<double>());
  const Scratch<double> scale(op.rows);
  for (int64_t n = 0; n < op.rows; ++n)
    scale[n] = rows.scale(value_of(op.upstream, reduced(op) ? 0 : n));
  const bool ready = op.grad_logits_ready && reduced(op) && value_of(op.upstream, 0) == 1;
  const View grad = ready ? View{} : op.grad_logits;
  if (grad || op.grad_target)
    SURPRISAL_DISPATCH(cross_entropy::backward, op, rows, stats, scale.data(), grad);
  if (!op.grad_token_weight) return;
  const bool mean = static_cast<Reduction>(op.reduction) == Reduction::mean;
  const double average = mean ? total(rows, stats, op.rows) / rows.denominator() : 0;
  for (int64_t n = 0; n < op.rows; ++n) {
    double slope = 0;
    if (!rows.ignored(n) && scale[n] != 0) {
      const double share = rows.soft() ? 1 : rows.class_weight(rows.target(n));
      slope = scale[n] * (stats[n].loss - share * average);
    }
    set_value(op.grad_token_weight, n, slope);
  }
}

void scale(const Scale& op) {
  check(op);
  const double factor = value_of(op.upstream, 0);
  if (op.out.data == op.grad.data && factor == 1) return;
  SURPRISAL_DISPATCH(cross_entropy::scale, op, factor);
}

}  // namespace surprisal::cross_entropy
