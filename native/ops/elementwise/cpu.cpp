#include "ops/elementwise/op.h"

#include <utility>

#include "core/philox.h"

#define SURPRISAL_BODY "ops/elementwise/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::elementwise {
namespace {

void run(const Call& call) { SURPRISAL_DISPATCH(elementwise::run, call); }

const Dims* given(const Dims& shape) { return shape.rank ? &shape : nullptr; }

}  // namespace

void unary(const Unary& op) {
  require(op.a && op.a.size == op.out.size, "elementwise: sizes differ");
  run({Function(op.function), 1, {op.a}, op.out, op.p, op.q, nullptr, {}});
}

void binary(const Binary& op) {
  run({Function(op.function),
       2,
       {op.a, op.b},
       op.out,
       op.p,
       op.q,
       given(op.shape),
       {&op.a_shape, &op.b_shape}});
}

void ternary(const Ternary& op) {
  run({Function(op.function),
       3,
       {op.a, op.b, op.c},
       op.out,
       op.p,
       op.q,
       given(op.shape),
       {&op.a_shape, &op.b_shape, &op.c_shape}});
}

void accumulate(const Accumulate& op) {
  require(op.a && op.a.size == op.out.size, "accumulate: sizes differ");
  run({Function::add, 2, {op.out, op.a}, op.out, 0, 0, nullptr, {}});
}

void dropout(const Dropout& op) {
  require(op.a && op.a.size == op.out.size && op.a.dtype == op.out.dtype, "dropout: sizes differ");
  SURPRISAL_DISPATCH(elementwise::dropout, op);
}

}  // namespace surprisal::elementwise
