#include "node/bind.h"
#include "ops/reduce/op.h"
#include "ops/reduce/plan.h"

namespace surprisal::reduce {
namespace {

// For tests: what plan() decides, as numbers.
struct PlanQuery {
  Dims shape;
  int32_t axes = 0, dtype = 0;
  View out;  // float64 (13)
};

void query(const PlanQuery& op) {
  const Plan p = plan(merged(op.shape, op.axes), DType(op.dtype));
  const double numbers[] = {
      double(int32_t(p.form)), double(p.outer),  double(p.n),
      double(p.inner),         double(p.lanes),  double(p.rows),
      double(p.chunk),         double(p.chunks), double(p.staged),
      double(p.blocks),        double(p.shared), double(p.combine ? p.combine_lanes : 0),
      double(p.combine_blocks)};
  require(op.out.size == 13, "reducePlan: 13 numbers");
  std::copy(std::begin(numbers), std::end(numbers), op.out.as<double>());
}

}  // namespace

void bind(node::Module& m) {
  m.def<Reduce, reduce, SP_CUDA(reduce_cuda)>(
      "reduce",
      {SP_FIELD(Reduce, kind), SP_FIELD(Reduce, a), SP_FIELD(Reduce, out), SP_FIELD(Reduce, p),
       SP_FIELD(Reduce, shape), SP_FIELD(Reduce, axes), SP_FIELD(Reduce, extra)});
  m.def<PlanQuery, query>("reducePlan", {SP_FIELD(PlanQuery, shape), SP_FIELD(PlanQuery, axes),
                                         SP_FIELD(PlanQuery, dtype), SP_FIELD(PlanQuery, out)});
}

}  // namespace surprisal::reduce
