#include <memory>

#include "core/token_mean.h"
#include "ops/emo/check.h"
#include "ops/emo/op.h"
#include "ops/emo/row.h"
#include "ops/emo/rows.h"

#define SURPRISAL_BODY "ops/emo/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::emo {

void forward(const Forward& op) {
  check(op);
  const Scratch<int64_t> label(op.rows);
  find_labels(op, "emo", label.data());
  const TokenMean tokens("emo", op.token_weight, op.rows, op.reduction, label.data());
  require(op.loss.size == tokens.outputs(), "emo: size of loss");
  const Scratch<double> scale(op.rows);
  for (int64_t n = 0; n < op.rows; ++n) {
    const double w = tokens.weight(n);
    scale[n] = w == 0 || !op.grad_logits ? w : w * tokens.inverse();
  }
  double* const loss = op.row_loss.as<double>();
  SURPRISAL_DISPATCH(emo::run, op, rules_of(op), label.data(), scale.data(), loss);
  tokens.write([&](int64_t n) { return loss[n]; }, op.loss);
}

void backward(const Backward& op) {
  check(op);
  const Scratch<int64_t> label(op.rows);
  find_labels(op, "emo", label.data());
  const TokenMean tokens("emo", op.token_weight, op.rows, op.reduction, label.data());
  require(op.upstream.size == tokens.outputs(), "emo: size of upstream");
  const Scratch<double> scale(op.rows);
  for (int64_t n = 0; n < op.rows; ++n) scale[n] = tokens.scale(n, op.upstream);
  if (op.grad_logits)
    SURPRISAL_DISPATCH(emo::run, op, rules_of(op), label.data(), scale.data(), nullptr);
  const auto loss = [&](int64_t n) { return op.row_loss.as<double>()[n]; };
  tokens.differentiate_weights(loss, op.upstream, op.grad_token_weight);
}

}  // namespace surprisal::emo
