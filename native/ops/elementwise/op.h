// Functions of one, two or three tensors applied element by element: out[i] = f(a[i], b[i], c[i]).
// float32, float16 and bfloat16 compute in float32, float64 in float64, integers and bool in int64
// (and wrap when stored). Operands broadcast by NumPy's rule against `shape`; without `shape` each
// has the size of `out` or 1. An absent operand is a number: `p`, or `q` for the third.
// Gradients are functions of the same kind, with the upstream gradient g as first operand; those
// with respect to an operand that was broadcast are summed by ops/reduce afterwards.
// The numbers are repeated in src/pointwise.ts.
#pragma once
#include "core/view.h"

namespace surprisal::elementwise {

enum class Function : int32_t {
  // one operand
  neg = 0,
  abs,
  sign,
  square,
  sqrt,
  rsqrt,
  exp,
  log,
  log1p,
  sin,
  cos,
  clamp,  // to [p, q]; NaN stays
  relu,
  gelu,       // x Phi(x)
  gelu_tanh,  // x/2 (1 + tanh u), u = sqrt(2/pi) (x + 0.044715 x^3)
  silu,
  sigmoid,
  tanh,
  softplus,
  logical_not,
  is_nan,
  // two
  add = 32,
  sub,
  mul,
  div,
  pow,
  maximum,  // NaN if either is
  minimum,
  eq,
  ne,
  lt,
  le,
  gt,
  ge,
  logical_and,
  logical_or,
  // gradients of the functions of one operand: (g, x), or (g, y) where y = f(x) is cheaper
  abs_gradient = 64,   // x
  square_gradient,     // x
  sqrt_gradient,       // y
  rsqrt_gradient,      // y
  log1p_gradient,      // x
  sin_gradient,        // x
  cos_gradient,        // x
  clamp_gradient,      // x: g where p <= x <= q
  relu_gradient,       // y
  gelu_gradient,       // x
  gelu_tanh_gradient,  // x
  silu_gradient,       // x
  sigmoid_gradient,    // y
  tanh_gradient,       // y
  softplus_gradient,   // x
  // three
  where = 96,             // a != 0 ? b : c
  maximum_gradient,       // (g, a, b) for a: g, g/2 where a = b, 0 where a < b
  div_gradient,           // (g, a, b) for b: -g a / b^2
  pow_base_gradient,      // (g, a, b): g b a^(b-1)
  pow_exponent_gradient,  // (g, a, b): g a^b log a, 0 where a = 0 and b >= 0
  scaled_difference,      // (g, a, b): g (a - b)
  select_equal,           // (g, a, b): g where a = b or both are NaN, else 0
  exp_difference,         // (g, a, b): g e^(a - b), with b = -inf read as 0
  norm_gradient,          // (g, x, y) with y = norm of order 2: g x / y, 0 where y = 0
};

struct Unary {
  int32_t function = 0;
  View a, out;
  double p = 0, q = 0;
};
struct Binary {
  int32_t function = 0;
  View a, b, out;
  double p = 0, q = 0;
  Dims shape, a_shape, b_shape;
};
struct Ternary {
  int32_t function = 0;
  View a, b, c, out;
  double p = 0, q = 0;
  Dims shape, a_shape, b_shape, c_shape;
};
struct Accumulate {  // out += a
  View out, a;
};

// out[i] = a[i]/(1 - p) where element i is kept, else 0. It is kept if word i % 4 of Philox block
// offset + i/4, as a uniform number, is at least p: the gradient is the same function of g.
struct Dropout {
  View a, out;
  double p = 0;
  int64_t seed = 0, offset = 0;
};

void unary(const Unary& op);
void binary(const Binary& op);
void ternary(const Ternary& op);
void accumulate(const Accumulate& op);
void dropout(const Dropout& op);
void unary_cuda(const Unary& op, cuda::Stream& stream);
void binary_cuda(const Binary& op, cuda::Stream& stream);
void ternary_cuda(const Ternary& op, cuda::Stream& stream);
void accumulate_cuda(const Accumulate& op, cuda::Stream& stream);
void dropout_cuda(const Dropout& op, cuda::Stream& stream);

}  // namespace surprisal::elementwise
