#include "node/bind.h"
#include "ops/warping/op.h"

namespace surprisal::warping {

#define PROBLEM(Op)                                                                              \
  SP_FIELD(Op, logits), SP_FIELD(Op, target), SP_FIELD(Op, shape), SP_FIELD(Op, batch),          \
      SP_FIELD(Op, channels), SP_FIELD(Op, labels), SP_FIELD(Op, ignore), SP_FIELD(Op, corners), \
      SP_FIELD(Op, reduction), SP_FIELD(Op, critical)

void bind(node::Module& m) {
  m.def<Forward, forward>("warpingForward", {PROBLEM(Forward), SP_FIELD(Forward, loss)});
  m.def<Backward, backward>("warpingBackward", {PROBLEM(Backward), SP_FIELD(Backward, upstream),
                                                SP_FIELD(Backward, grad)});
}

}  // namespace surprisal::warping
