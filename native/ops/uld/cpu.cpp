#include "core/token_mean.h"
#include "ops/uld/check.h"
#include "ops/uld/entries.h"
#include "ops/uld/op.h"

#define SURPRISAL_BODY "ops/uld/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::uld {
void forward(const Forward& op) {
  check(op, op.row_loss, op.grad_student);
  const TokenMean tokens("uldLoss", op.token_weight, op.rows, op.reduction);
  require(op.loss.size == tokens.outputs(), "uldLoss: size of loss");
  const Scratch<double> scale(op.rows);
  // Rows of weight 0 are left alone.
  for (int64_t n = 0; n < op.rows; ++n) {
    const double w = tokens.weight(n);
    scale[n] = w == 0 || !op.grad_student ? w : w * tokens.inverse();
  }
  SURPRISAL_DISPATCH(uld::run, op, scale.data(), op.row_loss.as<double>(), op.grad_student);
  tokens.write([&](int64_t n) { return op.row_loss.as<double>()[n]; }, op.loss);
}

void backward(const Backward& op) {
  check(op, op.row_loss, op.grad_student);
  const TokenMean tokens("uldLoss", op.token_weight, op.rows, op.reduction);
  require(op.upstream.size == tokens.outputs(), "uldLoss: size of upstream");
  const Scratch<double> scale(op.rows);
  for (int64_t n = 0; n < op.rows; ++n) scale[n] = tokens.scale(n, op.upstream);
  if (op.grad_student) SURPRISAL_DISPATCH(uld::run, op, scale.data(), nullptr, op.grad_student);
  const auto loss = [&](int64_t n) { return op.row_loss.as<double>()[n]; };
  tokens.differentiate_weights(loss, op.upstream, op.grad_token_weight);
}

}  // namespace surprisal::uld
