#include "ops/cdist/op.h"

#define SURPRISAL_AVX512
#define SURPRISAL_BODY "ops/cdist/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::cdist {

void cdist(const Cdist& op) {
  require(op.x.dtype == op.result.dtype && op.y.dtype == op.result.dtype, "cdist: mixed dtypes");
  require(op.x.size == op.batch * op.n * op.width && op.y.size == op.batch * op.m * op.width &&
              op.result.size == op.batch * op.n * op.m,
          "cdist: sizes differ");
  require(op.p >= 0, "cdist: p");
  if (op.result.size) SURPRISAL_DISPATCH(cdist::forward, op);
}

void cdist_backward(const Backward& op) {
  const DType dtype = op.dx.dtype;
  require(
      op.x.dtype == dtype && op.y.dtype == dtype && op.result.dtype == dtype && op.g.dtype == dtype,
      "cdist: mixed dtypes");
  require(op.x.size == op.batch * op.n * op.width && op.y.size == op.batch * op.m * op.width &&
              op.dx.size == op.x.size && op.result.size == op.batch * op.n * op.m &&
              op.g.size == op.result.size,
          "cdist: sizes differ");
  require(op.p >= 0, "cdist: p");
  if (op.dx.size) SURPRISAL_DISPATCH(cdist::backward, op);
}

}  // namespace surprisal::cdist
