// linearEmo: labels, weights and reduction around the streaming loop.
#include <cstring>
#include <memory>
#include <string>

#include "core/logit_plan.h"
#include "ops/emo/check.h"
#include "ops/emo/rows.h"

#define SURPRISAL_BODY "ops/emo/linear_kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::emo {
namespace {

constexpr const char* kName = "linearEmo";

void fill_zero(const View& view) {
  if (view) std::memset(view.data, 0, static_cast<size_t>(view.size * size_of(view.dtype)));
}

void run(const Linear& op, const int64_t* label, const double* scale, double* row_loss,
         bool later_x, bool later_weight) {
  for (int64_t n = 0; row_loss && n < op.rows; ++n) row_loss[n] = 0;
  const Scratch<int64_t> kept(op.rows);
  int64_t count = 0;
  for (int64_t n = 0; n < op.rows; ++n)
    if (label[n] >= 0 && scale[n] != 0) kept[count++] = n;
  if (count < op.rows) fill_zero(op.grad_x);
  if (count == 0) fill_zero(op.grad_weight);
  SURPRISAL_DISPATCH(emo::run_linear, op, rules_of(op), label, scale, kept.data(), count, row_loss,
                     later_x, later_weight);
}

}  // namespace

void linear_forward(const LinearForward& op) {
  check(op);
  const Scratch<int64_t> label(op.rows);
  find_labels(op, kName, label.data());
  const TokenMean tokens(kName, op.token_weight, op.rows, op.reduction, label.data());
  require(op.loss.size == tokens.outputs(), "linearEmo: size of loss");
  const Scratch<double> scale(op.rows);
  for (int64_t n = 0; n < op.rows; ++n) scale[n] = tokens.weight(n) * tokens.inverse();
  double* const loss = op.row_loss.as<double>();
  run(op, label.data(), scale.data(), loss, op.later_x, op.later_weight);
  tokens.write([&](int64_t n) { return loss[n]; }, op.loss);
}

void linear_backward(const LinearBackward& op) {
  check(op);
  const Scratch<int64_t> label(op.rows);
  find_labels(op, kName, label.data());
  const TokenMean tokens(kName, op.token_weight, op.rows, op.reduction, label.data());
  require(op.upstream.size == tokens.outputs(), "linearEmo: size of upstream");
  const Scratch<double> scale(op.rows);
  for (int64_t n = 0; n < op.rows; ++n) scale[n] = tokens.scale(n, op.upstream);
  if (op.grad_x || op.grad_weight) run(op, label.data(), scale.data(), nullptr, false, false);
  const auto loss = [&](int64_t n) { return op.row_loss.as<double>()[n]; };
  tokens.differentiate_weights(loss, op.upstream, op.grad_token_weight);
}

}  // namespace surprisal::emo
