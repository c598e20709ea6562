// linearLogprobs on the CPU; see log_values.h.
#include "ops/linear_cross_entropy/log_values.h"
#include "ops/linear_cross_entropy/rows.h"

namespace surprisal::linear_cross_entropy {
namespace {

constexpr const char* kName = "linearLogprobs";

class LogprobRows final : public RowFinish {
 public:
  LogprobRows(const Scored& op) : rows(op, kName) {}

  void finish(int64_t n, const RowState& state) override {
    if (!outputs) return;
    const LogValues v = log_values(state);
    const int64_t at = rows.position[n];
    set_value(outputs->logprob, at, -v.surprisal);
    set_value(outputs->lse, at, v.lse);
    set_value(outputs->entropy, at, v.entropy);
  }

  RowCoefficients slope(int64_t n, const RowState& state) const override {
    const int64_t at = rows.position[n];
    const auto up = [&](const View& view) { return view ? value_of(view, at) : 0; };
    return log_slope(state, up(upstream->dlogprob), up(upstream->dlse), up(upstream->dentropy));
  }

  Rows rows;
  const Logprobs* outputs = nullptr;
  const LogprobsBackward* upstream = nullptr;
};

Stream pass(const Scored& op, LogprobRows& rows, RowState* states) {
  Stream s{op, kName, rows.rows.count, rows.rows.row.data(), rows.rows.target.data(), states, rows};
  s.extra = Extra::entropy;
  return s;
}

void check(const Scored& op) {
  check_linear(op, kName);
  check_targets(op, kName);
}

}  // namespace

void logprobs(const Logprobs& op) {
  check(op);
  const int64_t scored = op.batch * (op.length - op.shift);
  for (const View* out : {&op.logprob, &op.lse, &op.entropy})
    require(out->size == scored, "linearLogprobs: size of an output");
  LogprobRows rows(op);
  rows.outputs = &op;
  for (const View* out : {&op.logprob, &op.lse, &op.entropy}) fill_zero(*out);
  States states(op.row_sums, rows.rows);
  Stream s = pass(op, rows, states.kept());
  s.later_x = op.later_x;
  s.later_weight = op.later_weight;
  s.later_bias = op.later_bias;
  stream(s);
  states.save();
}

void logprobs_backward(const LogprobsBackward& op) {
  check(op);
  check_gradients(op, op, kName);
  const int64_t scored = op.batch * (op.length - op.shift);
  for (const View* g : {&op.dlogprob, &op.dlse, &op.dentropy})
    require(!*g || g->size == scored, "linearLogprobs: size of an upstream gradient");
  require(bool(op.row_sums), "linearLogprobs: rowSums");
  LogprobRows rows(op);
  rows.upstream = &op;
  States states(op.row_sums, rows.rows);
  states.load();
  Stream s = pass(op, rows, states.kept());
  s.sums = false;
  s.gradients = op;
  stream(s);
}

}  // namespace surprisal::linear_cross_entropy
