// linearCrossEntropy: row weights, reduction and the gradient of the token weights around the
// streaming loop.
#include <cmath>

#include "ops/linear_cross_entropy/rows.h"

namespace surprisal::linear_cross_entropy {
namespace {

constexpr const char* kName = "linearCrossEntropy";

void check_weights(const Loss& op) {
  for (int64_t c = 0; op.class_weight && c < op.classes; ++c) {
    if (value_of(op.class_weight, c) >= 0) continue;
    refuse_class_weight(value_of(op.class_weight, c), c);
  }
  for (int64_t i = 0; op.token_weight && i < op.token_weight.size; ++i) {
    if (!std::isnan(value_of(op.token_weight, i))) continue;
    refuse_token_weight(i);
  }
}

class LossRows final : public RowFinish {
 public:
  explicit LossRows(const Loss& op)
      : op_(op), rows(op, kName), loss(op.batch * op.length), scale_(rows.count) {
    check_weights(op);
    options_ = {op.label_smoothing, op.z_loss, static_cast<Epilogue>(op.epilogue), op.epilogue_k};
    weights_.classes = weights_.sum = static_cast<double>(op.classes);
    if (op.class_weight) {
      weights_.sum = 0;
      for (int64_t c = 0; c < op.classes; ++c) weights_.sum += value_of(op.class_weight, c);
    }
    for (int64_t n = 0; n < rows.count; ++n) denominator_ += class_weight(n) * token_weight(n);
  }

  bool mean() const { return static_cast<Reduction>(op_.reduction) == Reduction::mean; }
  bool reduced() const { return static_cast<Reduction>(op_.reduction) != Reduction::none; }
  double denominator() const { return denominator_; }
  double class_weight(int64_t n) const {
    return op_.class_weight ? value_of(op_.class_weight, rows.target[n]) : 1;
  }
  double token_weight(int64_t n) const {
    return op_.token_weight ? value_of(op_.token_weight, rows.source[n]) : 1;
  }

  // d(result)/d(row n before its token weight), token weight left out, for each row's upstream.
  template <class F>
  void set_scale(F&& upstream) {
    for (int64_t n = 0; n < rows.count; ++n) {
      const double up = upstream(n);
      scale_[n] = !mean() ? up : denominator_ == 0 ? 0 : up / denominator_;
    }
  }
  double scale(int64_t n) const { return scale_[n]; }

  void finish(int64_t n, const RowState& state) override {
    loss[n] = row_loss(options_, sums(state), weights(n)).loss;
  }
  RowCoefficients slope(int64_t n, const RowState& state) const override {
    const double scale = scale_[n] * token_weight(n);
    if (scale == 0) return {};
    const RowSlope s = row_slope(options_, sums(state), weights(n), scale);
    return {state.max, s.p, 0, s.w, s.target};
  }

 private:
  static RowSums sums(const RowState& s) { return {s.max, s.others, s.target, s.extra}; }
  RowWeights weights(int64_t n) const {
    RowWeights w = weights_;
    w.target = class_weight(n);
    return w;
  }

  const Loss& op_;
  RowOptions options_;
  RowWeights weights_;
  double denominator_ = 0;

 public:
  Rows rows;
  Scratch<double> loss;  // (kept rows), before the token weight

 private:
  Scratch<double> scale_;
};

void token_gradient(const Backward& op, const LossRows& rows) {
  if (!op.dtoken_weight) return;
  fill_zero(op.dtoken_weight);
  double total = 0;
  for (int64_t n = 0; n < rows.rows.count; ++n) total += rows.token_weight(n) * rows.loss[n];
  const double average = rows.mean() ? total / rows.denominator() : 0;
  for (int64_t n = 0; n < rows.rows.count; ++n) {
    if (rows.scale(n) == 0) continue;
    const double share = average * (rows.mean() ? rows.class_weight(n) : 0);
    set_value(op.dtoken_weight, rows.rows.source[n], rows.scale(n) * (rows.loss[n] - share));
  }
}

Stream pass(const Loss& op, LossRows& rows, RowState* states) {
  Stream s{op, kName, rows.rows.count, rows.rows.row.data(), rows.rows.target.data(), states, rows};
  s.smooth = op.label_smoothing != 0;
  if (s.smooth) s.extra = Extra::below;
  s.class_weight = op.class_weight;
  s.gradients = op;
  s.filter.eps = op.filter_eps;
  s.filter.max_error = op.filter_error;
  if (op.filter_report) {
    s.filter.report = op.filter_report.as<double>();
    s.filter.report[0] = 1;
    s.filter.report[1] = s.filter.report[2] = 0;
  }
  return s;
}

// Whether what forward computed, times the upstream gradient, is rounded no more than necessary.
bool scales(const Backward& op, double upstream) {
  const bool ready = (!op.dx || op.unit_x) && (!op.dweight || op.unit_weight) &&
                     (!op.dbias || op.unit_bias) && !op.add_to_dweight;
  int exponent;
  const double digits = std::fabs(std::frexp(upstream, &exponent));
  return ready && (size_of(op.x.dtype) > 2 || digits == 0 || digits == 0.5);
}

void scale_gradients(const Backward& op, double upstream) {
  scale(op.unit_x, upstream, op.dx);
  scale(op.unit_weight, upstream, op.dweight);
  scale(op.unit_bias, upstream, op.dbias);
}

void compute_gradients(const Backward& op, LossRows& rows, RowState* states) {
  Stream s = pass(op, rows, states);
  s.sums = false;
  const double unit = rows.reduced() ? std::fabs(value_of(op.upstream, 0)) : 1;
  if (unit > 0 && std::isfinite(unit)) {
    s.filter.unit = unit;
    s.filter.max_error *= unit;
  }
  stream(s);
}

}  // namespace

void forward(const Forward& op) {
  check_loss(op);
  LossRows rows(op);
  const int64_t scored = op.batch * (op.length - op.shift);
  require(op.loss.size == (rows.reduced() ? 1 : scored), "linearCrossEntropy: size of loss");
  rows.set_scale([](int64_t) { return 1.0; });
  States states(op.row_sums, rows.rows);
  Stream s = pass(op, rows, states.kept());
  s.later_x = op.later_x;
  s.later_weight = op.later_weight;
  s.later_bias = op.later_bias;
  s.later_adds = op.later_adds;
  stream(s);
  states.save();
  if (!rows.reduced()) {
    fill_zero(op.loss);
    for (int64_t n = 0; n < rows.rows.count; ++n)
      set_value(op.loss, rows.rows.position[n], rows.token_weight(n) * rows.loss[n]);
    return;
  }
  double sum = 0;
  for (int64_t n = 0; n < rows.rows.count; ++n) sum += rows.token_weight(n) * rows.loss[n];
  const double mean = rows.denominator() == 0 ? NAN : sum / rows.denominator();
  set_value(op.loss, 0, rows.mean() ? mean : sum);
}

void backward(const Backward& op) {
  check_loss(op);
  LossRows rows(op);
  const int64_t scored = op.batch * (op.length - op.shift);
  require(op.upstream.size == (rows.reduced() ? 1 : scored), "linearCrossEntropy: upstream");
  rows.set_scale(
      [&](int64_t n) { return value_of(op.upstream, rows.reduced() ? 0 : rows.rows.position[n]); });
  require(bool(op.row_sums), "linearCrossEntropy: rowSums");
  States states(op.row_sums, rows.rows);
  states.load();
  if (op.dtoken_weight)
    for (int64_t n = 0; n < rows.rows.count; ++n) rows.finish(n, states.kept()[n]);
  if (rows.reduced() && scales(op, value_of(op.upstream, 0))) {
    scale_gradients(op, value_of(op.upstream, 0));
  } else if (op.dx || op.dweight || op.dbias) {
    compute_gradients(op, rows, states.kept());
  }
  token_gradient(op, rows);
}

}  // namespace surprisal::linear_cross_entropy
