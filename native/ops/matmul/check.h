// The facts that the CPU and the CUDA form of a product assert. Offsets lie on the host for both.
#pragma once
#include "ops/matmul/op.h"

namespace surprisal::matmul {

inline void check_operand(const View& view, const View& offsets, int64_t batch, int64_t matrix) {
  if (!offsets) return require(view.size == batch * matrix, "matmul: operand size");
  require(offsets.size == batch, "matmul: one offset for each pair");
  const int64_t* at = offsets.as<int64_t>();
  for (int64_t i = 0; i < batch; ++i)
    require(at[i] >= 0 && at[i] <= view.size - matrix, "matmul: offset outside the operand");
}

inline void check(const Matmul& op) {
  require(op.m >= 0 && op.n >= 0 && op.k >= 0 && op.batch >= 0, "matmul: negative size");
  require(op.a.dtype == op.out.dtype && op.b.dtype == op.out.dtype, "matmul: mixed dtypes");
  require(op.out.size == op.batch * op.m * op.n, "matmul: output size");
  check_operand(op.a, op.a_offsets, op.batch, op.m * op.k);
  check_operand(op.b, op.b_offsets, op.batch, op.k * op.n);
}

}  // namespace surprisal::matmul
