#include "ops/norm/op.h"

#define SURPRISAL_BODY "ops/norm/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::norm {
namespace {

bool fits(const View& v, DType dtype, int64_t size) {
  return !v || (v.dtype == dtype && v.size == size);
}

DType compute_dtype(const View& x) { return x.dtype == DType::f64 ? DType::f64 : DType::f32; }

}  // namespace

void check(const Forward& op) {
  const DType dtype = op.x.dtype;
  require(op.x.size == op.rows * op.width, "norm: x has another size");
  require(op.y && fits(op.y, dtype, op.x.size), "norm: y differs from x");
  require(fits(op.weight, dtype, op.width) && fits(op.bias, dtype, op.width),
          "norm: weight and bias need one element a column");
  require(op.r && fits(op.r, compute_dtype(op.x), op.rows), "norm: r has another size");
  require(fits(op.mean, compute_dtype(op.x), op.rows), "norm: mean has another size");
}

void check(const Backward& op) {
  const DType dtype = op.x.dtype;
  require(op.x.size == op.rows * op.width, "norm: x has another size");
  require(op.g && fits(op.g, dtype, op.x.size), "norm: g differs from x");
  require(fits(op.dx, dtype, op.x.size), "norm: dx differs from x");
  require(fits(op.weight, dtype, op.width) && fits(op.dweight, dtype, op.width) &&
              fits(op.dbias, dtype, op.width),
          "norm: weight gradients need one element a column");
  require(op.r && fits(op.r, compute_dtype(op.x), op.rows), "norm: r has another size");
  require(fits(op.mean, compute_dtype(op.x), op.rows), "norm: mean has another size");
}

void forward(const Forward& op) {
  check(op);
  if (op.x.size) SURPRISAL_DISPATCH(norm::forward, op);
}
void backward(const Backward& op) {
  check(op);
  // Without a row the weight gradients are zeros, which no row would write.
  if (op.x.size || op.width) SURPRISAL_DISPATCH(norm::backward, op);
}

}  // namespace surprisal::norm
