#include "ops/soft_skeleton/op.h"

#include "core/parallel.h"
#include "core/scratch.h"

#define SURPRISAL_BODY "ops/soft_skeleton/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::soft_skeleton {
namespace {

void check(const Problem& op, const View& like) {
  require(op.image.size == op.images * op.planes * op.rows * op.columns, "softSkeleton: size");
  require(like.size == op.image.size && like.dtype == op.image.dtype, "softSkeleton: result");
  require(op.iterations >= 0, "softSkeleton: iterations");
}

}  // namespace

void forward(const Forward& op) {
  check(op, op.skeleton);
  if (op.image.size > 0) SURPRISAL_DISPATCH(soft_skeleton::forward, op);
}
void backward(const Backward& op) {
  check(op, op.grad);
  require(op.upstream.size == op.image.size, "softSkeleton: upstream");
  if (op.image.size > 0) SURPRISAL_DISPATCH(soft_skeleton::backward, op);
}

}  // namespace surprisal::soft_skeleton
