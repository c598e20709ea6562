// A vocabulary in shards: the partial sums of one shard, and its gradients once the lse of all is
// known (Wijmans et al. 2024, section 4; Megatron's vocabulary parallelism).
#include <cmath>

#include "ops/linear_cross_entropy/rows.h"

namespace surprisal::linear_cross_entropy {
namespace {

class PartialRows final : public RowFinish {
 public:
  explicit PartialRows(const Partials& op)
      : rows(op, "linearCrossEntropyPartials", true, op.vocab_offset), op_(op) {}

  void finish(int64_t n, const RowState& state) override {
    const int64_t at = rows.position[n];
    set_value(op_.max, at, state.max);
    // Relative to a maximum of -inf there is nothing to add.
    set_value(op_.sum_exp, at, state.max == -INFINITY ? 0 : state.others);
    set_value(op_.target_logit, at, rows.target[n] < 0 ? -INFINITY : state.target + state.max);
    set_value(op_.sum_logits, at, state.extra);
  }
  RowCoefficients slope(int64_t, const RowState&) const override { return {}; }

  Rows rows;

 private:
  const Partials& op_;
};

class ShardRows final : public RowFinish {
 public:
  explicit ShardRows(const ShardBackward& op)
      : rows(op, "linearCrossEntropy.backwardShard", true, op.vocab_offset), op_(op) {}

  void finish(int64_t, const RowState&) override {}
  RowCoefficients slope(int64_t n, const RowState&) const override {
    RowCoefficients c;
    c.max = value_of(op_.lse, rows.position[n]);
    c.p = value_of(op_.grad_loss, rows.position[n]);
    return c;
  }

  Rows rows;

 private:
  const ShardBackward& op_;
};

}  // namespace

void partials(const Partials& op) {
  check_linear(op, "linearCrossEntropyPartials");
  check_targets(op, "linearCrossEntropyPartials");
  for (const View* out : {&op.max, &op.sum_exp, &op.target_logit, &op.sum_logits}) {
    require(out->size == op.batch * op.length, "linearCrossEntropyPartials: size of an output");
    fill_zero(*out);
  }
  PartialRows rows(op);
  States states(op.row_sums, rows.rows);
  Stream s{op,
           "linearCrossEntropyPartials",
           rows.rows.count,
           rows.rows.row.data(),
           rows.rows.target.data(),
           states.kept(),
           rows};
  s.extra = Extra::total;
  stream(s);
}

void shard_backward(const ShardBackward& op) {
  constexpr const char* kName = "linearCrossEntropy.backwardShard";
  check_linear(op, kName);
  check_targets(op, kName);
  check_gradients(op, op, kName);
  require(op.lse.size == op.target.size && op.grad_loss.size == op.target.size, kName);
  ShardRows rows(op);
  States states(op.row_sums, rows.rows);
  Stream s{
      op,  kName, rows.rows.count, rows.rows.row.data(), rows.rows.target.data(), states.kept(),
      rows};
  s.sums = false;
  s.own_from_z = true;
  s.gradients = op;
  stream(s);
}

}  // namespace surprisal::linear_cross_entropy
