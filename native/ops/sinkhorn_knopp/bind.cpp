#include "node/bind.h"
#include "ops/sinkhorn_knopp/op.h"

namespace surprisal::sinkhorn_knopp {

#define PROBLEM(Op)                                                                          \
  SP_FIELD(Op, x), SP_FIELD(Op, rows), SP_FIELD(Op, columns), SP_FIELD(Op, batch),           \
      SP_FIELD(Op, n), SP_FIELD(Op, m), SP_FIELD(Op, iterations), SP_FIELD(Op, temperature), \
      SP_FIELD(Op, matrix), SP_FIELD(Op, columns_first)

void bind(node::Module& m) {
  m.def<Forward, forward>("sinkhornKnoppForward", {PROBLEM(Forward), SP_FIELD(Forward, out)});
  m.def<Backward, backward>(
      "sinkhornKnoppBackward",
      {PROBLEM(Backward), SP_FIELD(Backward, upstream), SP_FIELD(Backward, grad)});
}

}  // namespace surprisal::sinkhorn_knopp
