#include "node/bind.h"
#include "ops/cl_dice/op.h"

namespace surprisal::cl_dice {

#define PROBLEM(Op)                                                                            \
  SP_FIELD(Op, prediction), SP_FIELD(Op, target), SP_FIELD(Op, skeleton), SP_FIELD(Op, batch), \
      SP_FIELD(Op, channels), SP_FIELD(Op, planes), SP_FIELD(Op, rows), SP_FIELD(Op, columns), \
      SP_FIELD(Op, volume), SP_FIELD(Op, labels), SP_FIELD(Op, logits),                        \
      SP_FIELD(Op, first_channel), SP_FIELD(Op, iterations), SP_FIELD(Op, sums),               \
      SP_FIELD(Op, reduction), SP_FIELD(Op, slopes)

void bind(node::Module& m) {
  m.def<Forward, forward>(
      "clDiceForward", {PROBLEM(Forward), SP_FIELD(Forward, smooth), SP_FIELD(Forward, dice_weight),
                        SP_FIELD(Forward, loss), SP_FIELD(Forward, kept)});
  m.def<Backward, backward>("clDiceBackward", {PROBLEM(Backward), SP_FIELD(Backward, upstream),
                                               SP_FIELD(Backward, grad)});
}

}  // namespace surprisal::cl_dice
