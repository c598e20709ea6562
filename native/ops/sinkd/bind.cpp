#include "node/bind.h"
#include "ops/sinkd/op.h"
#include "ops/sinkd/plan.h"

namespace surprisal::sinkd {
namespace {

// For tests: what plan() decides, as numbers.
struct PlanQuery {
  int64_t problems = 1, rows = 0, classes = 0, shared = 0;
  View out;  // float64 (4)
};

void query(const PlanQuery& op) {
  const Plan p = plan(op.problems, op.rows, op.classes, op.shared);
  double* out = op.out.as<double>();
  out[0] = static_cast<double>(p.strips);
  out[1] = static_cast<double>(p.strip);
  out[2] = static_cast<double>(p.problems);
  out[3] = p.in_shared;
}

}  // namespace

#define PROBLEM(Op)                                                                         \
  SP_FIELD(Op, student), SP_FIELD(Op, teacher), SP_FIELD(Op, mask), SP_FIELD(Op, problems), \
      SP_FIELD(Op, rows), SP_FIELD(Op, classes), SP_FIELD(Op, iterations),                  \
      SP_FIELD(Op, temperature), SP_FIELD(Op, lambda), SP_FIELD(Op, weight),                \
      SP_FIELD(Op, reduction)

void bind(node::Module& m) {
  m.def<Forward, forward, SP_CUDA(forward_cuda)>(
      "sinkdForward", {PROBLEM(Forward), SP_FIELD(Forward, loss), SP_FIELD(Forward, row_stats),
                       SP_FIELD(Forward, slopes), SP_FIELD(Forward, detached)});
  m.def<Backward, backward, SP_CUDA(backward_cuda)>(
      "sinkdBackward",
      {PROBLEM(Backward), SP_FIELD(Backward, row_stats), SP_FIELD(Backward, slopes),
       SP_FIELD(Backward, upstream), SP_FIELD(Backward, grad_student)});
  m.def<PlanQuery, query>("sinkdPlan", {SP_FIELD(PlanQuery, problems), SP_FIELD(PlanQuery, rows),
                                        SP_FIELD(PlanQuery, classes), SP_FIELD(PlanQuery, shared),
                                        SP_FIELD(PlanQuery, out)});
}

}  // namespace surprisal::sinkd
