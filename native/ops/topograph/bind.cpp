#include "node/bind.h"
#include "ops/topograph/op.h"

namespace surprisal::topograph {

#define PROBLEM(Op)                                                                            \
  SP_FIELD(Op, prediction), SP_FIELD(Op, target), SP_FIELD(Op, batch), SP_FIELD(Op, channels), \
      SP_FIELD(Op, height), SP_FIELD(Op, width), SP_FIELD(Op, labels), SP_FIELD(Op, ignore),   \
      SP_FIELD(Op, activation), SP_FIELD(Op, sphere), SP_FIELD(Op, background),                \
      SP_FIELD(Op, eight), SP_FIELD(Op, caller), SP_FIELD(Op, reduction)

void bind(node::Module& m) {
  m.def<Forward, forward>("topographForward", {PROBLEM(Forward), SP_FIELD(Forward, aggregation),
                                               SP_FIELD(Forward, loss), SP_FIELD(Forward, classes),
                                               SP_FIELD(Forward, slopes)});
  m.def<Backward, backward>(
      "topographBackward",
      {PROBLEM(Backward), SP_FIELD(Backward, classes), SP_FIELD(Backward, slopes),
       SP_FIELD(Backward, upstream), SP_FIELD(Backward, grad)});
  m.def<Metric, metric>("diuError", {PROBLEM(Metric), SP_FIELD(Metric, error)});
}

}  // namespace surprisal::topograph
