#include "ops/cross_entropy/rows.h"

#define SURPRISAL_BODY "ops/cross_entropy/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::cross_entropy {
namespace {

void check(const Problem& op, int64_t stats) {
  const int64_t all = op.rows * op.classes;
  require(op.rows >= 0 && op.classes >= 0, "crossEntropy: negative size");
  require(op.logits.size == all, "crossEntropy: size of logits");
  require(op.target.size == (is_float(op.target.dtype) ? all : op.rows),
          "crossEntropy: size of target");
  require(!op.class_weight || op.class_weight.size == op.classes, "crossEntropy: classWeight");
  require(!op.token_weight || op.token_weight.size == op.rows, "crossEntropy: tokenWeight");
  require(stats == op.rows * kStats, "crossEntropy: size of rowStats");
}

void check_result(const View& result, int64_t size, DType dtype) {
  require(!result || (result.size == size && result.dtype == dtype), "crossEntropy: result");
}

DType loss_dtype(const Problem& op) {
  return op.logits.dtype == DType::f64 ? DType::f64 : DType::f32;
}

bool reduced(const Problem& op) { return static_cast<Reduction>(op.reduction) != Reduction::none; }

double read(const View& view, int64_t i) {
  return view.dtype == DType::f64 ? view.as<double>()[i] : view.as<float>()[i];
}

void write(const View& view, int64_t i, double x) {
  visit_float(view.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (std::is_same_v<T, double>) {
      view.as<T>()[i] = x;
    } else {
      view.as<T>()[i] = from_float<T>(static_cast<float>(x));
    }
  });
}

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
  check(op, op.row_stats ? op.row_stats.size : op.rows * kStats);
  check_result(op.loss, reduced(op) ? 1 : op.rows, loss_dtype(op));
  check_result(op.grad_logits, op.logits.size, op.logits.dtype);
  const Rows rows(op);
  Stats* stats = op.row_stats ? reinterpret_cast<Stats*>(op.row_stats.as<double>()) : own.data();
  SURPRISAL_DISPATCH(cross_entropy::forward, op, rows, stats);
  if (reduced(op)) {
    const double sum = total(rows, stats, op.rows);
    const bool mean = static_cast<Reduction>(op.reduction) == Reduction::mean;
    const double empty = std::numeric_limits<double>::quiet_NaN();
    write(op.loss, 0, !mean ? sum : rows.denominator() == 0 ? empty : sum / rows.denominator());
    return;
  }
  for (int64_t n = 0; n < op.rows; ++n)
    write(op.loss, n, rows.ignored(n) ? 0 : rows.token_weight(n) * stats[n].loss);
}

void backward(const Backward& op) {
  check(op, op.row_stats.size);
  check_result(op.upstream, reduced(op) ? 1 : op.rows, loss_dtype(op));
  check_result(op.grad_logits, op.logits.size, op.logits.dtype);
  check_result(op.grad_target, op.target.size, op.target.dtype);
  check_result(op.grad_token_weight, op.rows, op.token_weight.dtype);
  const Rows rows(op);
  const auto* stats = reinterpret_cast<const Stats*>(op.row_stats.as<double>());
  const Scratch<double> scale(op.rows);
  for (int64_t n = 0; n < op.rows; ++n)
    scale[n] = rows.scale(read(op.upstream, reduced(op) ? 0 : n));
  const bool ready = op.grad_logits_ready && reduced(op) && read(op.upstream, 0) == 1;
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
    write(op.grad_token_weight, n, slope);
  }
}

void scale(const Scale& op) {
  check_result(op.out, op.grad.size, op.grad.dtype);
  require(op.upstream.size == 1, "crossEntropy: size of upstream");
  const double factor = read(op.upstream, 0);
  if (op.out.data == op.grad.data && factor == 1) return;
  SURPRISAL_DISPATCH(cross_entropy::scale, op, factor);
}

}  // namespace surprisal::cross_entropy
