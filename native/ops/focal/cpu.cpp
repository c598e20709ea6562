#include <limits>
#include <string>

#include "core/measures.h"
#include "core/parallel.h"
#include "core/ranges.h"
#include "core/row_loss.h"
#include "core/scratch.h"
#include "core/values.h"
#include "ops/focal/op.h"

#define SURPRISAL_BODY "ops/focal/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::focal {
namespace {

constexpr int64_t kSmallestBlock = 512;  // blocks.h's

void check(const Problem& op, const View& result) {
  require(op.target.size == op.logits.size, "focalLoss: size of target");
  const bool reduced = static_cast<Reduction>(op.reduction) != Reduction::none;
  require(result.size == (reduced ? 1 : op.logits.size), "focalLoss: size of the loss");
}

// An element of the target, which may be a whole number.
double target_of(const View& target, int64_t i) {
  return is_float(target.dtype) ? value_of(target, i) : static_cast<uint8_t*>(target.data)[i];
}

void check_targets(const View& target) {
  const int64_t i = first_outside(target, Range::unit);
  if (i < 0) return;
  refuse("focalLoss", "expected target to hold numbers from 0 to 1, got " +
                          text_of(target_of(target, i)) + " at " + std::to_string(i));
}

}  // namespace

void forward(const Forward& op) {
  check(op, op.loss);
  check_targets(op.target);
  const auto reduction = static_cast<Reduction>(op.reduction);
  if (reduction == Reduction::none)
    return SURPRISAL_DISPATCH(focal::forward, op, static_cast<double*>(nullptr));
  const int64_t blocks = (op.logits.size + kSmallestBlock - 1) / kSmallestBlock;
  const Scratch<double> parts(blocks);
  SURPRISAL_DISPATCH(focal::forward, op, parts.data());
  double sum = 0;  // in the order of the blocks, whoever made them
  for (int64_t k = 0; k < blocks; ++k) sum += parts[k];
  if (reduction == Reduction::mean) {
    constexpr double none = std::numeric_limits<double>::quiet_NaN();
    sum = op.logits.size == 0 ? none : sum / static_cast<double>(op.logits.size);
  }
  set_value(op.loss, 0, sum);
}

void backward(const Backward& op) {
  check(op, op.upstream);
  const auto reduction = static_cast<Reduction>(op.reduction);
  if (reduction == Reduction::none)
    return SURPRISAL_DISPATCH(focal::backward, op, static_cast<const double*>(nullptr));
  double scale = value_of(op.upstream, 0);
  if (reduction == Reduction::mean)
    scale /= static_cast<double>(std::max<int64_t>(1, op.logits.size));
  SURPRISAL_DISPATCH(focal::backward, op, static_cast<const double*>(&scale));
}

}  // namespace surprisal::focal
