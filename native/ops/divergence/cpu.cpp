#include "core/token_mean.h"
#include "ops/divergence/op.h"

#define SURPRISAL_AVX512
#define SURPRISAL_BODY "ops/divergence/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::divergence {
namespace {

void check(const Problem& op) {
  const int64_t all = op.rows * op.classes;
  require(op.student.size == all && op.teacher.size == all, "divergence: sizes of the rows");
  require(op.student.dtype == op.teacher.dtype, "divergence: dtypes differ");
}

TokenMean tokens(const Problem& op) {
  return TokenMean("divergence", op.token_weight, op.rows, op.reduction);
}

constexpr int64_t kStats = sizeof(PairSums) / sizeof(double);

}  // namespace

void forward(const Forward& op) {
  check(op);
  const TokenMean mean = tokens(op);
  require(!op.row_stats || op.row_stats.size == op.rows * kStats, "divergence: size of rowStats");
  require(op.loss.size == mean.outputs(), "divergence: size of loss");
  require(!op.grad_student, "divergence: gradients in forward");
  Scratch<PairSums> own(op.row_stats ? 0 : op.rows);
  auto* rows = op.row_stats ? reinterpret_cast<PairSums*>(op.row_stats.as<double>()) : own.data();
  SURPRISAL_DISPATCH(divergence::forward, op, rows);
  mean.write([&](int64_t n) { return rows[n].loss; }, op.loss);
}

void backward(const Backward& op) {
  check(op);
  const TokenMean mean = tokens(op);
  require(op.row_stats.size == op.rows * kStats, "divergence: size of rowStats");
  require(op.upstream.size == mean.outputs(), "divergence: size of upstream");
  require(!op.grad_student_ready, "divergence: gradients in forward");
  const auto* rows = reinterpret_cast<const PairSums*>(op.row_stats.as<double>());
  const Scratch<double> scale(op.rows);
  for (int64_t n = 0; n < op.rows; ++n) scale[n] = mean.scale(n, op.upstream);
  if (op.grad_student || op.grad_teacher)
    SURPRISAL_DISPATCH(divergence::backward, op, rows, scale.data());
  mean.differentiate_weights([&](int64_t n) { return rows[n].loss; }, op.upstream,
                             op.grad_token_weight);
}

}  // namespace surprisal::divergence
