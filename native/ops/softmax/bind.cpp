#include "node/bind.h"
#include "ops/softmax/op.h"
#include "ops/softmax/plan.h"

namespace surprisal::softmax {
namespace {

// For tests: what plan() decides, as numbers.
struct PlanQuery {
  int64_t outer = 1, n = 1, inner = 1;
  int32_t dtype = 0;
  bool clusters = true;
  View out;  // float64 (7)
};

void query(const PlanQuery& op) {
  const Plan p = plan({op.outer, op.n, op.inner, DType(op.dtype), op.clusters});
  const double numbers[] = {double(p.rows.lanes), double(p.rows.threads), double(p.rows.cluster),
                            double(p.rows.parts), double(p.lanes),        double(p.held),
                            double(p.blocks)};
  require(op.out.size == 7, "softmaxPlan: 7 numbers");
  std::copy(std::begin(numbers), std::end(numbers), op.out.as<double>());
}

}  // namespace

void bind(node::Module& m) {
  m.def<Forward, forward, SP_CUDA(forward_cuda)>(
      "softmaxForward", {SP_FIELD(Forward, x), SP_FIELD(Forward, y), SP_FIELD(Forward, outer),
                         SP_FIELD(Forward, n), SP_FIELD(Forward, inner), SP_FIELD(Forward, log)});
  m.def<Backward, backward, SP_CUDA(backward_cuda)>(
      "softmaxBackward", {SP_FIELD(Backward, y), SP_FIELD(Backward, g), SP_FIELD(Backward, dx),
                          SP_FIELD(Backward, outer), SP_FIELD(Backward, n),
                          SP_FIELD(Backward, inner), SP_FIELD(Backward, log)});
  m.def<PlanQuery, query>("softmaxPlan", {SP_FIELD(PlanQuery, outer), SP_FIELD(PlanQuery, n),
                                          SP_FIELD(PlanQuery, inner), SP_FIELD(PlanQuery, dtype),
                                          SP_FIELD(PlanQuery, clusters), SP_FIELD(PlanQuery, out)});
}

}  // namespace surprisal::softmax
