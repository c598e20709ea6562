#include "node/bind.h"
#include "ops/uld/op.h"
#include "ops/uld/plan.h"

namespace surprisal::uld {
namespace {

// For tests: what plan() decides, as numbers.
struct PlanQuery {
  int64_t rows = 0, student = 0, teacher = 0, key = 4, processors = 0;
  View out;  // float64 (4)
};

void query(const PlanQuery& op) {
  const Plan p = plan({op.rows, op.student, op.teacher, op.key, static_cast<int>(op.processors)});
  double* out = op.out.as<double>();
  out[0] = p.threads;
  out[1] = p.bins;
  out[2] = static_cast<double>(p.bytes);
  out[3] = static_cast<double>(p.blocks);
}

}  // namespace

#define PROBLEM(Op)                                                                             \
  SP_FIELD(Op, student), SP_FIELD(Op, teacher), SP_FIELD(Op, token_weight), SP_FIELD(Op, rows), \
      SP_FIELD(Op, student_classes), SP_FIELD(Op, teacher_classes), SP_FIELD(Op, temperature),  \
      SP_FIELD(Op, reduction), SP_FIELD(Op, row_loss), SP_FIELD(Op, grad_student)

void bind(node::Module& m) {
  m.def<Forward, forward, SP_CUDA(forward_cuda)>("uldForward",
                                                 {PROBLEM(Forward), SP_FIELD(Forward, loss)});
  m.def<Backward, backward, SP_CUDA(backward_cuda)>(
      "uldBackward",
      {PROBLEM(Backward), SP_FIELD(Backward, upstream), SP_FIELD(Backward, grad_token_weight)});
  m.def<PlanQuery, query>("uldPlan", {SP_FIELD(PlanQuery, rows), SP_FIELD(PlanQuery, student),
                                      SP_FIELD(PlanQuery, teacher), SP_FIELD(PlanQuery, key),
                                      SP_FIELD(PlanQuery, processors), SP_FIELD(PlanQuery, out)});
}

}  // namespace surprisal::uld
