#include "node/bind.h"
#include "ops/sinkd/op.h"

namespace surprisal::sinkd {

#define PROBLEM(Op)                                                                         \
  SP_FIELD(Op, student), SP_FIELD(Op, teacher), SP_FIELD(Op, mask), SP_FIELD(Op, problems), \
      SP_FIELD(Op, rows), SP_FIELD(Op, classes), SP_FIELD(Op, iterations),                  \
      SP_FIELD(Op, temperature), SP_FIELD(Op, lambda), SP_FIELD(Op, weight),                \
      SP_FIELD(Op, reduction)

void bind(node::Module& m) {
  m.def<Forward, forward>("sinkdForward",
                          {PROBLEM(Forward), SP_FIELD(Forward, loss), SP_FIELD(Forward, row_stats),
                           SP_FIELD(Forward, slopes), SP_FIELD(Forward, detached)});
  m.def<Backward, backward>(
      "sinkdBackward",
      {PROBLEM(Backward), SP_FIELD(Backward, row_stats), SP_FIELD(Backward, slopes),
       SP_FIELD(Backward, upstream), SP_FIELD(Backward, grad_student)});
}

}  // namespace surprisal::sinkd
