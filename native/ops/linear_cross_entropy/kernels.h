#include "cpu/gemm.h"
#include "cpu/logit_map.h"
#include "cpu/logit_stream.h"

namespace linear_cross_entropy {

using namespace ::surprisal::linear_cross_entropy;
#include "ops/linear_cross_entropy/softmax_terms.h"

// `from` (count) as accumulators; nothing if absent.
template <class A>
std::unique_ptr<Scratch<A>> widened(const View& from) {
  if (!from) return nullptr;
  auto to = std::make_unique<Scratch<A>>(from.size);
  for (int64_t i = 0; i < from.size; ++i) to->data()[i] = static_cast<A>(value_of(from, i));
  return to;
}

template <class A>
LogitPlan plan(const Stream& s) {
  LogitShape shape;
  shape.rows = s.n;
  shape.columns = s.op.classes;
  shape.depth = s.op.width;
  shape.lanes = kTileCols<A>;
  shape.unit = sizeof(A);
  shape.row_bytes = SoftmaxTerms<A>::row_bytes(s.op.classes);
  const int64_t vectors = bool(s.op.bias) + bool(s.class_weight) + 2 * bool(s.gradients.dbias);
  shape.fixed_bytes = vectors * s.op.classes * int64_t(sizeof(A)) +
                      s.op.batch * s.op.length * int64_t(4 * sizeof(int64_t) + sizeof(RowState));
  const View& dw = s.gradients.dweight;
  const bool whole = s.op.width * size_of(dw.dtype) % int64_t(sizeof(A)) == 0;
  if (dw && whole && !s.gradients.add_to_dweight)
    shape.lent_bytes = s.op.width * size_of(dw.dtype);
  shape.gradient_x = bool(s.gradients.dx);
  shape.gradient_weight = bool(dw);
  shape.gradient = shape.gradient_x || shape.gradient_weight || s.gradients.dbias;
  shape.weight_accumulates = dw.dtype == DTypeOf<A>::value;
  shape.budget = s.op.workspace_bytes;
  shape.threads = num_threads();
  const LogitPlan plan = plan_logits(shape);
  if (plan.minimum > shape.budget) {
    throw Error(Code::invalid_value, std::string(s.name) + ": expected workspaceBytes of at least " +
                                         std::to_string(plan.minimum) + " for these shapes, got " +
                                         std::to_string(shape.budget));
  }
  return plan;
}

template <class A>
void stream_as(const Stream& s) {
  const LogitPlan cut = plan<A>(s);
  const auto bias = widened<A>(s.op.bias);
  const auto class_weight = widened<A>(s.class_weight);
  SoftmaxOptions<A> options;
  options.n = s.n;
  options.classes = s.op.classes;
  options.bias = bias ? bias->data() : nullptr;
  options.class_weight = class_weight ? class_weight->data() : nullptr;
  options.target = s.target;
  options.map = logit_map(s.op.temperature, s.op.softcap, s.op.cap_first);
  options.extra = s.extra;
  options.smooth = s.smooth;
  options.own_from_z = s.own_from_z;
  SoftmaxTerms<A> terms(options, s.states, s.finish);
  LogitProblem<A> problem;
  problem.dtype = s.op.x.dtype;
  problem.x = s.op.x.data;
  problem.row = s.row;
  problem.w = s.op.weight.data;
  problem.n = s.n;
  problem.V = s.op.classes;
  problem.D = s.op.width;
  problem.dx = s.gradients.dx;
  problem.dw = s.gradients.dweight;
  problem.dbias = s.gradients.dbias;
  problem.add_to_dw = s.gradients.add_to_dweight;
  problem.sums = s.sums;
  LogitStream<A>(problem, cut, SoftmaxTerms<A>::row_bytes(s.op.classes), terms).run();
}

void stream(const Stream& s) {
  if (s.op.x.dtype == DType::f64) return stream_as<double>(s);
  stream_as<float>(s);
}

}  // namespace linear_cross_entropy
