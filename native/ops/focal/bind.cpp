#include "node/bind.h"
#include "ops/focal/op.h"

namespace surprisal::focal {

#define PROBLEM(Op)                                                                        \
  SP_FIELD(Op, logits), SP_FIELD(Op, target), SP_FIELD(Op, gamma), SP_FIELD(Op, positive), \
      SP_FIELD(Op, negative), SP_FIELD(Op, reduction)

void bind(node::Module& m) {
  m.def<Forward, forward>("focalForward", {PROBLEM(Forward), SP_FIELD(Forward, loss)});
  m.def<Backward, backward>(
      "focalBackward", {PROBLEM(Backward), SP_FIELD(Backward, upstream), SP_FIELD(Backward, grad)});
}

}  // namespace surprisal::focal
