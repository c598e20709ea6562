#include "node/bind.h"
#include "ops/overlap/op.h"

namespace surprisal::overlap {

#define PROBLEM(Op)                                                                             \
  SP_FIELD(Op, image), SP_FIELD(Op, target), SP_FIELD(Op, weight), SP_FIELD(Op, batch),         \
      SP_FIELD(Op, channels), SP_FIELD(Op, voxels), SP_FIELD(Op, labels), SP_FIELD(Op, ignore), \
      SP_FIELD(Op, how), SP_FIELD(Op, squared), SP_FIELD(Op, caller), SP_FIELD(Op, over_batch), \
      SP_FIELD(Op, first_channel), SP_FIELD(Op, reduction), SP_FIELD(Op, slopes)

void bind(node::Module& m) {
  m.def<Forward, forward>(
      "overlapForward",
      {PROBLEM(Forward), SP_FIELD(Forward, k), SP_FIELD(Forward, u), SP_FIELD(Forward, a),
       SP_FIELD(Forward, b), SP_FIELD(Forward, smooth), SP_FIELD(Forward, exponent),
       SP_FIELD(Forward, from), SP_FIELD(Forward, loss)});
  m.def<Backward, backward>("overlapBackward", {PROBLEM(Backward), SP_FIELD(Backward, upstream),
                                                SP_FIELD(Backward, grad)});
}

}  // namespace surprisal::overlap
