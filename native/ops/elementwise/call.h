// What the structs of op.h become on both devices: one call of an engine, its broadcast axes, and
// the dtype it computes in.
#pragma once
#include <cmath>

#include "core/axes.h"
#include "ops/elementwise/op.h"

namespace surprisal::elementwise {

struct Call {
  Function function;
  int operands;
  View operand[3];
  View out;
  double p, q;
  const Dims* shape;  // null: no operand is broadcast, other than from size 1
  const Dims* operand_shape[3];
};

inline const Dims* given(const Dims& shape) { return shape.rank ? &shape : nullptr; }

inline Call call_of(const Unary& op) {
  require(op.a && op.a.size == op.out.size, "elementwise: sizes differ");
  return {Function(op.function), 1, {op.a}, op.out, op.p, op.q, nullptr, {}};
}
inline Call call_of(const Binary& op) {
  return {Function(op.function),     2, {op.a, op.b}, op.out, op.p, op.q, given(op.shape),
          {&op.a_shape, &op.b_shape}};
}
inline Call call_of(const Ternary& op) {
  return {Function(op.function),
          3,
          {op.a, op.b, op.c},
          op.out,
          op.p,
          op.q,
          given(op.shape),
          {&op.a_shape, &op.b_shape, &op.c_shape}};
}
inline Call call_of(const Accumulate& op) {
  require(op.a && op.a.size == op.out.size, "accumulate: sizes differ");
  return {Function::add, 2, {op.out, op.a}, op.out, 0, 0, nullptr, {}};
}

inline void check(const Dropout& op) {
  require(op.a && op.a.size == op.out.size && op.a.dtype == op.out.dtype, "dropout: sizes differ");
}
// uniform(word) >= p, in integers: a uniform number is (word >> 8) / 2^24.
inline uint32_t threshold_of(const Dropout& op) {
  return static_cast<uint32_t>(std::ceil(op.p * 0x1p24));
}
inline double scale_of(const Dropout& op) { return op.p < 1 ? 1 / (1 - op.p) : 0; }

// A comparison computes in the dtype of what it compares, everything else in that of its result.
inline DType compute_dtype(const Call& call) {
  if (call.out.dtype != DType::boolean) return call.out.dtype;
  for (int k = 0; k < call.operands; ++k)
    if (call.operand[k]) return call.operand[k].dtype;
  return DType::f32;
}

// The result's axes, those merged that every operand walks as one. The innermost stride is 0 or 1
// in each operand. Of rank 0 where nothing is broadcast.
inline Axes<3> axes_of(const Call& call) {
  Axes<3> axes;
  if (!call.shape) return axes;
  const Dims& shape = *call.shape;
  int64_t strides[kMaxRank][3] = {};
  for (int k = 0; k < call.operands; ++k) {
    const Dims& own = *call.operand_shape[k];
    int64_t next = 1;
    for (int d = shape.rank - 1; d >= 0; --d) {
      const int e = d - (shape.rank - own.rank);
      const int64_t n = e >= 0 ? own.size[e] : 1;
      require(n == shape.size[d] || n == 1, "elementwise: shapes do not broadcast");
      strides[d][k] = n == 1 ? 0 : next;
      next *= n;
    }
    require(!call.operand[k] || next == call.operand[k].size, "elementwise: shape and size differ");
  }
  for (int d = 0; d < shape.rank; ++d)
    axes.add({shape.size[d], {strides[d][0], strides[d][1], strides[d][2]}});
  return axes;
}

}  // namespace surprisal::elementwise
