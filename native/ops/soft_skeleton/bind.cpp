#include "node/bind.h"
#include "ops/soft_skeleton/op.h"

namespace surprisal::soft_skeleton {

#define PROBLEM(Op)                                                                    \
  SP_FIELD(Op, image), SP_FIELD(Op, images), SP_FIELD(Op, planes), SP_FIELD(Op, rows), \
      SP_FIELD(Op, columns), SP_FIELD(Op, volume), SP_FIELD(Op, iterations)

void bind(node::Module& m) {
  m.def<Forward, forward>("softSkeletonForward", {PROBLEM(Forward), SP_FIELD(Forward, skeleton)});
  m.def<Backward, backward>(
      "softSkeletonBackward",
      {PROBLEM(Backward), SP_FIELD(Backward, upstream), SP_FIELD(Backward, grad)});
}

}  // namespace surprisal::soft_skeleton
