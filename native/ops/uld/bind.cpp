#include "node/bind.h"
#include "ops/uld/op.h"

namespace surprisal::uld {

#define PROBLEM(Op)                                                                             \
  SP_FIELD(Op, student), SP_FIELD(Op, teacher), SP_FIELD(Op, token_weight), SP_FIELD(Op, rows), \
      SP_FIELD(Op, student_classes), SP_FIELD(Op, teacher_classes), SP_FIELD(Op, temperature),  \
      SP_FIELD(Op, reduction), SP_FIELD(Op, row_loss), SP_FIELD(Op, grad_student)

void bind(node::Module& m) {
  m.def<Forward, forward>("uldForward", {PROBLEM(Forward), SP_FIELD(Forward, loss)});
  m.def<Backward, backward>("uldBackward", {PROBLEM(Backward), SP_FIELD(Backward, upstream),
                                            SP_FIELD(Backward, grad_token_weight)});
}

}  // namespace surprisal::uld
