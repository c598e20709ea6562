#include "node/bind.h"
#include "ops/divergence/op.h"

namespace surprisal::divergence {

#define PROBLEM_FIELDS(Op)                                                                      \
  SP_FIELD(Op, student), SP_FIELD(Op, teacher), SP_FIELD(Op, token_weight), SP_FIELD(Op, rows), \
      SP_FIELD(Op, classes), SP_FIELD(Op, kind), SP_FIELD(Op, reduction),                       \
      SP_FIELD(Op, temperature), SP_FIELD(Op, beta)

void bind(node::Module& m) {
  m.def<Forward, forward, SP_CUDA(forward_cuda)>(
      "divergenceForward",
      {PROBLEM_FIELDS(Forward), SP_FIELD(Forward, loss), SP_FIELD(Forward, row_stats)});
  m.def<Backward, backward, SP_CUDA(backward_cuda)>(
      "divergenceBackward",
      {PROBLEM_FIELDS(Backward), SP_FIELD(Backward, row_stats), SP_FIELD(Backward, upstream),
       SP_FIELD(Backward, grad_student), SP_FIELD(Backward, grad_teacher),
       SP_FIELD(Backward, grad_token_weight)});
}

}  // namespace surprisal::divergence
