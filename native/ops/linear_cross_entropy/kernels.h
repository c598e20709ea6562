// Bodies build on each other: their order matters.
#include "cpu/gemm.h"
#include "cpu/logit_map.h"
#include "cpu/logit_terms.h"
#include "cpu/logit_filter.h"
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
LogitShape shape_of(const Stream& s) {
  LogitShape shape;
  shape.rows = s.n;
  shape.columns = s.op.classes;
  shape.depth = s.op.width;
  shape.lanes = kTileCols<A>;
  shape.unit = sizeof(A);
  shape.row_bytes = SoftmaxTerms<A>::row_bytes(s.op.classes);
  if (!s.filter.exact()) shape.row_bytes += LogitTiles<A>::row_bytes(s.op.classes);
  shape.budget = s.op.workspace_bytes;
  shape.threads = num_threads();
  return shape;
}

template <class A>
LogitPlan plan(const Stream& s, bool dx, bool dweight, bool dbias, bool adds) {
  LogitShape shape = shape_of<A>(s);
  const int64_t vectors = bool(s.op.bias) + bool(s.class_weight);
  shape.fixed_bytes = s.op.classes * (vectors * int64_t(sizeof(A)) + (dbias ? 8 : 0)) +
                      s.op.batch * s.op.length *
                          (int64_t(6 * sizeof(int64_t) + sizeof(RowState)) +
                           (dx || dweight || dbias ? LogitTargets<A>::row_bytes() : 0));
  if (!s.filter.exact()) shape.fixed_bytes += LogitTiles<A>::fixed_bytes(s.op.classes);
  const DType dtype = adds ? DType::f32 : s.op.x.dtype;
  const int64_t lent = s.op.width * size_of(dtype);
  const bool aligned = reinterpret_cast<uintptr_t>(s.gradients.dweight.data) % alignof(A) == 0;
  if (dweight && !adds && aligned && lent % int64_t(sizeof(A)) == 0) shape.lent_bytes = lent;
  shape.gradient_x = dx;
  shape.gradient_weight = dweight;
  shape.gradient = dx || dweight || dbias;
  // What is there already is added to once, whatever the waves.
  shape.weight_accumulates = dtype == DTypeOf<A>::value && !adds;
  return plan_logits(shape);
}

template <class A>
LogitPlan checked_plan(const Stream& s) {
  const Gradients& g = s.gradients;
  const LogitPlan now = plan<A>(s, bool(g.dx), bool(g.dweight), bool(g.dbias), g.add_to_dweight);
  const LogitPlan later = plan<A>(s, s.later_x, s.later_weight, s.later_bias, s.later_adds);
  const int64_t minimum = std::max(now.minimum, later.minimum);
  require_workspace(s.name, minimum, s.op.workspace_bytes);
  return now;
}

template <class A>
void stream_as(const Stream& s) {
  const LogitPlan cut = checked_plan<A>(s);
  if (s.n == 0) return;
  const auto bias = widened<A>(s.op.bias);
  const auto class_weight = widened<A>(s.class_weight);
  SoftmaxOptions<A> options;
  options.n = s.n;
  options.classes = s.op.classes;
  options.bias = bias ? bias->data() : nullptr;
  options.class_weight = class_weight ? class_weight->data() : nullptr;
  options.target = s.target;
  std::unique_ptr<LogitTargets<A>> targets;
  const Gradients& to = s.gradients;
  if (to.dx || to.dweight || to.dbias) targets.reset(new LogitTargets<A>(s.target, s.n));
  options.targets = targets.get();
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
  problem.dx = to.dx;
  problem.dw = to.dweight;
  problem.dbias = to.dbias;
  problem.add_to_dw = to.add_to_dweight;
  problem.sums = s.sums;
  problem.filter = s.filter;
  problem.target = s.target;
  problem.targets = targets.get();
  LogitStream<A>(problem, cut, SoftmaxTerms<A>::row_bytes(s.op.classes), terms).run();
}

template <class A>
void scale_as(const View& from, A factor, const View& to) {
  with_storage<A>(to.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_for((to.size + 511) / 512, 128, [&](int64_t begin, int64_t end) {
      A block[512];
      for (int64_t i = begin * 512; i < std::min(end * 512, to.size); i += 512) {
        const int64_t count = std::min<int64_t>(512, to.size - i);
        widen(from.as<T>() + i, count, block);
        // An upstream of 0 silences also what is not a number.
        for (int64_t j = 0; j < count; ++j) block[j] = factor == 0 ? 0 : block[j] * factor;
        narrow(block, count, to.as<T>() + i);
      }
    });
  });
}

void scale(const View& from, double factor, const View& to) {
  if (to.dtype == DType::f64) return scale_as<double>(from, factor, to);
  scale_as<float>(from, static_cast<float>(factor), to);
}

template <class A>
void argmax_as(const Argmax& op) {
  const int64_t n = op.batch * op.length;
  LogitShape shape;
  shape.rows = n;
  shape.columns = op.classes;
  shape.depth = op.width;
  shape.lanes = kTileCols<A>;
  shape.unit = sizeof(A);
  shape.row_bytes = ArgmaxTerms<A>::row_bytes();
  shape.fixed_bytes = op.classes * int64_t(op.bias ? sizeof(A) : 0) + n * int64_t(sizeof(int64_t));
  shape.budget = op.workspace_bytes;
  shape.threads = num_threads();
  const LogitPlan cut = plan_logits(shape);
  require_workspace("linearArgmax", cut.minimum, shape.budget);
  if (n == 0) return;
  const auto bias = widened<A>(op.bias);
  Scratch<int64_t> row(n);
  for (int64_t i = 0; i < n; ++i) row[i] = i;
  SoftmaxOptions<A> options;
  options.n = n;
  options.classes = op.classes;
  options.bias = bias ? bias->data() : nullptr;
  options.map = logit_map(op.temperature, op.softcap, op.cap_first);
  ArgmaxTerms<A> terms(options, op.out.as<int32_t>());
  LogitProblem<A> problem;
  problem.dtype = op.x.dtype;
  problem.x = op.x.data;
  problem.row = row.data();
  problem.w = op.weight.data;
  problem.n = n;
  problem.V = op.classes;
  problem.D = op.width;
  LogitStream<A>(problem, cut, ArgmaxTerms<A>::row_bytes(), terms).run();
}

void argmax(const Argmax& op) {
  if (op.x.dtype == DType::f64) return argmax_as<double>(op);
  argmax_as<float>(op);
}

void stream(const Stream& s) {
  if (s.op.x.dtype == DType::f64) return stream_as<double>(s);
  stream_as<float>(s);
}

}  // namespace linear_cross_entropy
