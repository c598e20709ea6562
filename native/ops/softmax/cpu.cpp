#include "ops/softmax/op.h"

#define SURPRISAL_AVX512
#define SURPRISAL_BODY "ops/softmax/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::softmax {

void check(const Forward& op) {
  require(op.x.size == op.outer * op.n * op.inner, "softmax: x has another size");
  require(op.y.size == op.x.size && op.y.dtype == op.x.dtype, "softmax: y differs from x");
}
void check(const Backward& op) {
  require(op.y.size == op.outer * op.n * op.inner, "softmax: y has another size");
  require(op.g.size == op.y.size && op.g.dtype == op.y.dtype, "softmax: g differs from y");
  require(op.dx.size == op.y.size && op.dx.dtype == op.y.dtype, "softmax: dx differs from y");
}

void forward(const Forward& op) {
  check(op);
  if (op.x.size) SURPRISAL_DISPATCH(softmax::forward, op);
}
void backward(const Backward& op) {
  check(op);
  if (op.y.size) SURPRISAL_DISPATCH(softmax::backward, op);
}

}  // namespace surprisal::softmax
