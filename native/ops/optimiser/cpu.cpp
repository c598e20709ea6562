#include "ops/optimiser/op.h"

#define SURPRISAL_BODY "ops/optimiser/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::optimiser {
namespace {

bool is_16bit(DType t) { return t == DType::bf16 || t == DType::f16; }

void check(const View& param, const View& grad, const View& master) {
  require(param.dtype == grad.dtype && param.size == grad.size, "optimiser: the gradient's shape");
  require(bool(master) == is_16bit(param.dtype), "optimiser: a master copy for 16-bit floats only");
  require(!master || master.size == param.size, "optimiser: the master copy's shape");
}

}  // namespace

void sgd_cpu(const Sgd& op) {
  check(op.param, op.grad, op.master);
  require(!op.buffer || op.buffer.size == op.param.size, "optimiser: the state's shape");
  SURPRISAL_DISPATCH(optimiser::sgd, op);
}

void adam_cpu(const Adam& op) {
  check(op.param, op.grad, op.master);
  require(op.m && op.v && op.m.size == op.param.size && op.v.size == op.param.size,
          "optimiser: the state's shape");
  SURPRISAL_DISPATCH(optimiser::adam, op);
}

void square_sum_cpu(const SquareSum& op) {
  require(op.out.size == 1, "optimiser: out holds one number");
  SURPRISAL_DISPATCH(optimiser::square_sum, op);
}

void scale_cpu(const Scale& op) {
  require(op.a.size == op.out.size, "optimiser: sizes differ");
  SURPRISAL_DISPATCH(optimiser::scale, op);
}

}  // namespace surprisal::optimiser
