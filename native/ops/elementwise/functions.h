// The functions of op.h, once for both devices: V is a vector (F32, F64 or I64) on the CPU and a
// number (float, double or int64_t) on CUDA. Included inside a namespace that has `constant`,
// `select` and the elementary functions for its V; then the lists by which tables are made.

template <class V, class M>
SP_HOST_DEVICE inline V one_where(M mask) {
  return select(mask, constant<V>(1), V{});
}

template <class V>
SP_HOST_DEVICE inline V at_most(V a, V limit) {
  return select(a > limit, limit, a);
}

template <class V>
struct Parameters {
  V p, q;
};

#define FUNCTION(Name, expression)                                                               \
  struct Name {                                                                                  \
    template <class V>                                                                           \
    SP_HOST_DEVICE static V at([[maybe_unused]] V a, [[maybe_unused]] V b, [[maybe_unused]] V c, \
                               [[maybe_unused]] const Parameters<V>& with) {                     \
      return expression;                                                                         \
    }                                                                                            \
  };

FUNCTION(Neg, -a)
FUNCTION(Abs, select(a < V{}, -a, select(a == V{}, V{}, a)))
FUNCTION(Sign, select(a > V{}, constant<V>(1), select(a < V{}, constant<V>(-1), a)))
FUNCTION(Square, a* a)
FUNCTION(Sqrt, sqrt(a))
FUNCTION(Rsqrt, constant<V>(1) / sqrt(a))
FUNCTION(Exp, exp(a))
FUNCTION(Log, log(a))
FUNCTION(Log1p, log1p(a))
FUNCTION(Sin, sin(a))
FUNCTION(Cos, cos(a))
FUNCTION(Clamp, at_most(select(a < with.p, with.p, a), with.q))
FUNCTION(Relu, select(a < V{}, V{}, a))
FUNCTION(Gelu, gelu(a))
FUNCTION(GeluTanh, gelu_tanh(a))
FUNCTION(Silu, silu(a))
FUNCTION(Sigmoid, sigmoid(a))
FUNCTION(Tanh, tanh(a))
FUNCTION(Softplus, softplus(a))
FUNCTION(LogicalNot, one_where<V>(a == V{}))
FUNCTION(IsNan, one_where<V>(a != a))

FUNCTION(Add, a + b)
FUNCTION(Sub, a - b)
FUNCTION(Mul, a* b)
FUNCTION(Div, a / b)
FUNCTION(Pow, pow(a, b))
FUNCTION(Maximum, select(a > b, a, select(a != a, a, b)))
FUNCTION(Minimum, select(a < b, a, select(a != a, a, b)))
FUNCTION(Eq, one_where<V>(a == b))
FUNCTION(Ne, one_where<V>(a != b))
FUNCTION(Lt, one_where<V>(a < b))
FUNCTION(Le, one_where<V>(a <= b))
FUNCTION(Gt, one_where<V>(a > b))
FUNCTION(Ge, one_where<V>(a >= b))
FUNCTION(LogicalAnd, one_where<V>((a != V{}) & (b != V{})))
FUNCTION(LogicalOr, one_where<V>((a != V{}) | (b != V{})))

FUNCTION(AbsGradient, select(b > V{}, a, select(b < V{}, -a, a* b)))
FUNCTION(SquareGradient, constant<V>(2) * a * b)
FUNCTION(SqrtGradient, constant<V>(0.5) * a / b)
FUNCTION(RsqrtGradient, constant<V>(-0.5) * a * b * b * b)
FUNCTION(Log1pGradient, a / (b + constant<V>(1)))
FUNCTION(SinGradient, a* cos(b))
FUNCTION(CosGradient, -a* sin(b))
FUNCTION(ClampGradient, select((b >= with.p) & (b <= with.q), a, V{}))
FUNCTION(ReluGradient, select(b <= V{}, V{}, a))
FUNCTION(GeluGradient, a* gelu_slope(b))
FUNCTION(GeluTanhGradient, a* gelu_tanh_slope(b))
FUNCTION(SigmoidGradient, a* b*(constant<V>(1) - b))
FUNCTION(TanhGradient, a*(constant<V>(1) - b * b))
FUNCTION(SoftplusGradient, a* sigmoid(b))

FUNCTION(Where, select(a != V{}, b, c))
FUNCTION(MaximumGradient, select(b < c, V{}, select(b == c, constant<V>(0.5) * a, a)))
FUNCTION(DivGradient, -a*(b / c) / c)
FUNCTION(PowBaseGradient, select(c == V{}, V{}, a* c* pow(b, c - constant<V>(1))))
FUNCTION(PowExponentGradient, select((b == V{}) & (c >= V{}), V{}, a* pow(b, c) * log(b)))
FUNCTION(ScaledDifference, a*(b - c))
FUNCTION(SelectEqual, select((b == c) | ((b != b) & (c != c)), a, V{}))
FUNCTION(NormGradient, select(c == V{}, V{}, a*(b / c)))
#undef FUNCTION

struct SiluGradient {
  template <class V>
  SP_HOST_DEVICE static V at(V g, V x, V, const Parameters<V>&) {
    const V s = sigmoid(x);
    return g * (s * (constant<V>(1) + x * (constant<V>(1) - s)));
  }
};

struct ExpDifference {
  template <class V>
  SP_HOST_DEVICE static V at(V g, V a, V b, const Parameters<V>&) {
    const V infinity = constant<V>(std::numeric_limits<double>::infinity());
    return g * exp(a - select(b == -infinity, V{}, b));
  }
};

// X(enumerator, struct, operands): of every compute type,
#define SURPRISAL_FUNCTIONS(X)  \
  X(neg, Neg, 1)                \
  X(abs, Abs, 1)                \
  X(sign, Sign, 1)              \
  X(square, Square, 1)          \
  X(clamp, Clamp, 1)            \
  X(relu, Relu, 1)              \
  X(logical_not, LogicalNot, 1) \
  X(is_nan, IsNan, 1)           \
  X(add, Add, 2)                \
  X(sub, Sub, 2)                \
  X(mul, Mul, 2)                \
  X(maximum, Maximum, 2)        \
  X(minimum, Minimum, 2)        \
  X(eq, Eq, 2)                  \
  X(ne, Ne, 2)                  \
  X(lt, Lt, 2)                  \
  X(le, Le, 2)                  \
  X(gt, Gt, 2)                  \
  X(ge, Ge, 2)                  \
  X(logical_and, LogicalAnd, 2) \
  X(logical_or, LogicalOr, 2)   \
  X(where, Where, 3)
// and of floats alone.
#define SURPRISAL_FLOAT_FUNCTIONS(X)               \
  X(sqrt, Sqrt, 1)                                 \
  X(rsqrt, Rsqrt, 1)                               \
  X(exp, Exp, 1)                                   \
  X(log, Log, 1)                                   \
  X(log1p, Log1p, 1)                               \
  X(sin, Sin, 1)                                   \
  X(cos, Cos, 1)                                   \
  X(gelu, Gelu, 1)                                 \
  X(gelu_tanh, GeluTanh, 1)                        \
  X(silu, Silu, 1)                                 \
  X(sigmoid, Sigmoid, 1)                           \
  X(tanh, Tanh, 1)                                 \
  X(softplus, Softplus, 1)                         \
  X(div, Div, 2)                                   \
  X(pow, Pow, 2)                                   \
  X(abs_gradient, AbsGradient, 2)                  \
  X(square_gradient, SquareGradient, 2)            \
  X(sqrt_gradient, SqrtGradient, 2)                \
  X(rsqrt_gradient, RsqrtGradient, 2)              \
  X(log1p_gradient, Log1pGradient, 2)              \
  X(sin_gradient, SinGradient, 2)                  \
  X(cos_gradient, CosGradient, 2)                  \
  X(clamp_gradient, ClampGradient, 2)              \
  X(relu_gradient, ReluGradient, 2)                \
  X(gelu_gradient, GeluGradient, 2)                \
  X(gelu_tanh_gradient, GeluTanhGradient, 2)       \
  X(silu_gradient, SiluGradient, 2)                \
  X(sigmoid_gradient, SigmoidGradient, 2)          \
  X(tanh_gradient, TanhGradient, 2)                \
  X(softplus_gradient, SoftplusGradient, 2)        \
  X(maximum_gradient, MaximumGradient, 3)          \
  X(div_gradient, DivGradient, 3)                  \
  X(pow_base_gradient, PowBaseGradient, 3)         \
  X(pow_exponent_gradient, PowExponentGradient, 3) \
  X(scaled_difference, ScaledDifference, 3)        \
  X(select_equal, SelectEqual, 3)                  \
  X(exp_difference, ExpDifference, 3)              \
  X(norm_gradient, NormGradient, 3)
