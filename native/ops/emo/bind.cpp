#include "node/bind.h"
#include "ops/emo/linear_plan.h"
#include "ops/emo/op.h"
#include "ops/emo/plan.h"

namespace surprisal::emo {
namespace {

// For tests: what rows_at_once() decides.
struct PlanQuery {
  int64_t rows = 0, classes = 0, bytes = 0;
  View out;  // float64 (1)
};

void query(const PlanQuery& op) {
  op.out.as<double>()[0] = static_cast<double>(rows_at_once(op.rows, op.classes, op.bytes));
}

// And plan_linear_device().
struct LinearQuery : LinearShape {
  View out;  // float64 (6)
};

void linear_query(const LinearQuery& op) {
  const LinearPlan p = plan_linear_device(op);
  const double values[] = {double(p.strip), double(p.stride),   double(p.rows),
                           double(p.wave),  double(p.together), double(p.least)};
  require(op.out.size == 6, "linearEmo: size of the plan");
  for (int i = 0; i < 6; ++i) op.out.as<double>()[i] = values[i];
}

}  // namespace

#define RULES(Op)                                                                              \
  SP_FIELD(Op, target), SP_FIELD(Op, token_weight), SP_FIELD(Op, rows), SP_FIELD(Op, classes), \
      SP_FIELD(Op, ignore_index), SP_FIELD(Op, combination), SP_FIELD(Op, reduction),          \
      SP_FIELD(Op, plain), SP_FIELD(Op, floor), SP_FIELD(Op, ceiling), SP_FIELD(Op, row_loss)
#define ON_LOGITS(Op)                                                              \
  RULES(Op), SP_FIELD(Op, logits), SP_FIELD(Op, embedding), SP_FIELD(Op, cosines), \
      SP_FIELD(Op, width), SP_FIELD(Op, grad_logits)

#define LINEAR(Op)                                                                                \
  RULES(Op), SP_FIELD(Op, x), SP_FIELD(Op, weight), SP_FIELD(Op, embedding), SP_FIELD(Op, width), \
      SP_FIELD(Op, workspace_bytes), SP_FIELD(Op, grad_x), SP_FIELD(Op, grad_weight)

void bind(node::Module& m) {
  m.def<Forward, forward, SP_CUDA(forward_cuda)>("emoForward",
                                                 {ON_LOGITS(Forward), SP_FIELD(Forward, loss)});
  m.def<Backward, backward, SP_CUDA(backward_cuda)>(
      "emoBackward",
      {ON_LOGITS(Backward), SP_FIELD(Backward, upstream), SP_FIELD(Backward, grad_token_weight)});
  m.def<LinearForward, linear_forward, SP_CUDA(linear_forward_cuda)>(
      "linearEmoForward",
      {LINEAR(LinearForward), SP_FIELD(LinearForward, loss), SP_FIELD(LinearForward, later_x),
       SP_FIELD(LinearForward, later_weight)});
  m.def<LinearBackward, linear_backward, SP_CUDA(linear_backward_cuda)>(
      "linearEmoBackward", {LINEAR(LinearBackward), SP_FIELD(LinearBackward, upstream),
                            SP_FIELD(LinearBackward, grad_token_weight)});
  m.def<LinearQuery, linear_query>(
      "linearEmoPlan",
      {SP_FIELD(LinearQuery, rows), SP_FIELD(LinearQuery, classes), SP_FIELD(LinearQuery, width),
       SP_FIELD(LinearQuery, element), SP_FIELD(LinearQuery, dx), SP_FIELD(LinearQuery, dweight),
       SP_FIELD(LinearQuery, budget), SP_FIELD(LinearQuery, out)});
  m.def<PlanQuery, query>("emoPlan", {SP_FIELD(PlanQuery, rows), SP_FIELD(PlanQuery, classes),
                                      SP_FIELD(PlanQuery, bytes), SP_FIELD(PlanQuery, out)});
}

}  // namespace surprisal::emo
