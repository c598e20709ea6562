#include "node/bind.h"
#include "ops/cast/op.h"
#include "ops/cast/plan.h"

namespace surprisal::cast {
namespace {

// For tests: what plan() decides, as numbers.
struct PlanQuery {
  int64_t n = 0;
  int32_t from = 0, to = 0;  // DType
  bool aligned = true;
  View out;  // float64 (3)
};

void query(const PlanQuery& op) {
  const Plan p = plan(op.n, DType(op.from), DType(op.to), op.aligned);
  double* out = op.out.as<double>();
  out[0] = p.pack;
  out[1] = p.packs;
  out[2] = static_cast<double>(p.blocks);
}

}  // namespace

void bind(node::Module& m) {
  m.def<Cast, cast_cpu, SP_CUDA(cast_cuda)>("cast", {SP_FIELD(Cast, a), SP_FIELD(Cast, out)});
  m.def<PlanQuery, query>(
      "castPlan", {SP_FIELD(PlanQuery, n), SP_FIELD(PlanQuery, from), SP_FIELD(PlanQuery, to),
                   SP_FIELD(PlanQuery, aligned), SP_FIELD(PlanQuery, out)});
}

}  // namespace surprisal::cast
