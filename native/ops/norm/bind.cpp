#include "node/bind.h"
#include "ops/norm/op.h"
#include "ops/norm/plan.h"

namespace surprisal::norm {
namespace {

// For tests: what the plans decide, as numbers.
struct PlanQuery {
  int64_t rows = 0, width = 0;
  int32_t dtype = 0;
  bool clusters = true, dx = false;
  View out;  // float64 (11)
};

void query(const PlanQuery& op) {
  const DType dtype = DType(op.dtype);
  const cuda::HoldPlan p = cuda::plan_hold({op.rows, op.width, dtype, op.clusters});
  const WeightPlan w = plan_weights(op.rows, op.width, dtype, op.dx);
  const double numbers[] = {double(p.lanes),          double(p.threads), double(p.cluster),
                            double(p.parts),          double(p.blocks),  double(w.chunk),
                            double(w.chunks),         double(w.tiles),   double(w.blocks),
                            double(w.combine_blocks), double(w.team)};
  require(op.out.size == 11, "normPlan: 11 numbers");
  std::copy(std::begin(numbers), std::end(numbers), op.out.as<double>());
}

}  // namespace

void bind(node::Module& m) {
  m.def<Forward, forward, SP_CUDA(forward_cuda)>(
      "normForward", {SP_FIELD(Forward, x), SP_FIELD(Forward, y), SP_FIELD(Forward, r),
                      SP_FIELD(Forward, rows), SP_FIELD(Forward, width), SP_FIELD(Forward, eps),
                      SP_FIELD(Forward, weight), SP_FIELD(Forward, bias), SP_FIELD(Forward, mean)});
  m.def<Backward, backward, SP_CUDA(backward_cuda)>(
      "normBackward", {SP_FIELD(Backward, x), SP_FIELD(Backward, g), SP_FIELD(Backward, r),
                       SP_FIELD(Backward, rows), SP_FIELD(Backward, width),
                       SP_FIELD(Backward, weight), SP_FIELD(Backward, mean), SP_FIELD(Backward, dx),
                       SP_FIELD(Backward, dweight), SP_FIELD(Backward, dbias)});
  m.def<PlanQuery, query>("normPlan", {SP_FIELD(PlanQuery, rows), SP_FIELD(PlanQuery, width),
                                       SP_FIELD(PlanQuery, dtype), SP_FIELD(PlanQuery, clusters),
                                       SP_FIELD(PlanQuery, dx), SP_FIELD(PlanQuery, out)});
}

}  // namespace surprisal::norm
