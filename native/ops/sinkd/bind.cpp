#include "node/bind.h"
#include "ops/sinkd/op.h"
#include "ops/sinkd/plan.h"

namespace surprisal::sinkd {
namespace {

// For tests: what plan() decides, as numbers.
struct PlanQuery : Sizes {
  View out;  // float64 (6)
};

void query(const PlanQuery& op) {
  require(op.out.size == 6, "sinkd: size of the plan");
  const Plan p = plan(op);
  const double values[] = {double(p.strips),   double(p.strip),          double(p.in_shared),
                           double(p.problems), double(p.differentiated), double(p.taken)};
  for (int i = 0; i < 6; ++i) op.out.as<double>()[i] = values[i];
}

}  // namespace

#define PROBLEM(Op)                                                                         \
  SP_FIELD(Op, student), SP_FIELD(Op, teacher), SP_FIELD(Op, mask), SP_FIELD(Op, problems), \
      SP_FIELD(Op, rows), SP_FIELD(Op, classes), SP_FIELD(Op, iterations),                  \
      SP_FIELD(Op, temperature), SP_FIELD(Op, lambda), SP_FIELD(Op, weight),                \
      SP_FIELD(Op, reduction), SP_FIELD(Op, workspace)

void bind(node::Module& m) {
  m.def<Forward, forward, SP_CUDA(forward_cuda)>(
      "sinkdForward", {PROBLEM(Forward), SP_FIELD(Forward, loss), SP_FIELD(Forward, row_stats),
                       SP_FIELD(Forward, slopes), SP_FIELD(Forward, detached)});
  m.def<Backward, backward, SP_CUDA(backward_cuda)>(
      "sinkdBackward",
      {PROBLEM(Backward), SP_FIELD(Backward, row_stats), SP_FIELD(Backward, slopes),
       SP_FIELD(Backward, upstream), SP_FIELD(Backward, grad_student)});
  m.def<PlanQuery, query>(
      "sinkdPlan",
      {SP_FIELD(PlanQuery, problems), SP_FIELD(PlanQuery, rows), SP_FIELD(PlanQuery, classes),
       SP_FIELD(PlanQuery, iterations), SP_FIELD(PlanQuery, element), SP_FIELD(PlanQuery, shared),
       SP_FIELD(PlanQuery, scratch), SP_FIELD(PlanQuery, out)});
}

}  // namespace surprisal::sinkd
