#include "node/bind.h"
#include "ops/divergence/op.h"
#include "ops/divergence/plan.h"

namespace surprisal::divergence {
namespace {

// For tests: what plan() decides, as numbers.
struct PlanQuery {
  int64_t rows = 0, classes = 0;
  View out;  // float64 (2)
};

void query(const PlanQuery& op) {
  const Plan p = plan(op.rows, op.classes);
  double* out = op.out.as<double>();
  out[0] = p.warp_rows;
  out[1] = static_cast<double>(p.blocks);
}

}  // namespace

#define PROBLEM_FIELDS(Op)                                                                      \
  SP_FIELD(Op, student), SP_FIELD(Op, teacher), SP_FIELD(Op, token_weight), SP_FIELD(Op, rows), \
      SP_FIELD(Op, classes), SP_FIELD(Op, kind), SP_FIELD(Op, reduction),                       \
      SP_FIELD(Op, temperature), SP_FIELD(Op, beta)

void bind(node::Module& m) {
  m.def<Forward, forward, SP_CUDA(forward_cuda)>(
      "divergenceForward", {PROBLEM_FIELDS(Forward), SP_FIELD(Forward, loss),
                            SP_FIELD(Forward, row_stats), SP_FIELD(Forward, grad_student)});
  m.def<Backward, backward, SP_CUDA(backward_cuda)>(
      "divergenceBackward",
      {PROBLEM_FIELDS(Backward), SP_FIELD(Backward, row_stats), SP_FIELD(Backward, upstream),
       SP_FIELD(Backward, grad_student), SP_FIELD(Backward, grad_teacher),
       SP_FIELD(Backward, grad_token_weight), SP_FIELD(Backward, grad_student_ready)});
  m.def<PlanQuery, query>(
      "divergencePlan",
      {SP_FIELD(PlanQuery, rows), SP_FIELD(PlanQuery, classes), SP_FIELD(PlanQuery, out)});
}

}  // namespace surprisal::divergence
