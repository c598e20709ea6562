// The functions of op.h on vectors, and the table from a function to a loop over a block.
// Included inside a target's namespace. V is F32, F64 or I64.

template <class V>
using scalar_of = std::remove_reference_t<decltype(std::declval<V&>()[0])>;

template <class V>
inline V constant(double x) {
  return splat(static_cast<scalar_of<V>>(x));
}
template <class V, class M>
inline V one_where(M mask) {
  return select(mask, constant<V>(1), V{});
}

template <class V>
inline V at_most(V a, V limit) {
  return select(a > limit, limit, a);
}

template <class V>
struct Parameters {
  V p, q;
};

#define FUNCTION(Name, expression)                                                \
  struct Name {                                                                   \
    template <class V>                                                            \
    static V at([[maybe_unused]] V a, [[maybe_unused]] V b, [[maybe_unused]] V c, \
                [[maybe_unused]] const Parameters<V>& with) {                     \
      return expression;                                                          \
    }                                                                             \
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
  static V at(V g, V x, V, const Parameters<V>&) {
    const V s = sigmoid(x);
    return g * (s * (constant<V>(1) + x * (constant<V>(1) - s)));
  }
};

struct ExpDifference {
  template <class V>
  static V at(V g, V a, V b, const Parameters<V>&) {
    const V infinity = constant<V>(std::numeric_limits<double>::infinity());
    return g * exp(a - select(b == -infinity, V{}, b));
  }
};

template <class C>
using BlockFunction = void (*)(const C* const* in, C* out, int64_t n, double p, double q);

template <class F, int Operands, class C>
void apply(const C* const* in, C* out, int64_t n, double p, double q) {
  using V = vector_t<C>;
  constexpr int64_t kStep = kLanes<C>;
  const Parameters<V> with{constant<V>(p), constant<V>(q)};
  const auto at = [&](const C* const* x) {
    return F::at(load(x[0]), Operands > 1 ? load(x[1]) : V{}, Operands > 2 ? load(x[2]) : V{},
                 with);
  };
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const C* x[3];
    for (int k = 0; k < Operands; ++k) x[k] = in[k] + i;
    store(out + i, at(x));
  }
  if (i == n) return;
  // The tail goes through the same vector function: a result never depends on its position.
  C lane[3][kStep], result[kStep];
  const C* x[3];
  for (int k = 0; k < Operands; ++k) {
    for (int64_t j = 0; j < kStep; ++j) lane[k][j] = i + j < n ? in[k][i + j] : C(1);
    x[k] = lane[k];
  }
  store(result, at(x));
  std::memcpy(out + i, result, (n - i) * sizeof(C));
}

// Null where the function is not defined for the compute type.
template <class C>
BlockFunction<C> block_function(Function function) {
#define CASE(name, Name, Operands) \
  case Function::name:             \
    return apply<Name, Operands, C>;
  switch (function) {
    CASE(neg, Neg, 1)
    CASE(abs, Abs, 1)
    CASE(sign, Sign, 1)
    CASE(square, Square, 1)
    CASE(clamp, Clamp, 1)
    CASE(relu, Relu, 1)
    CASE(logical_not, LogicalNot, 1)
    CASE(is_nan, IsNan, 1)
    CASE(add, Add, 2)
    CASE(sub, Sub, 2)
    CASE(mul, Mul, 2)
    CASE(maximum, Maximum, 2)
    CASE(minimum, Minimum, 2)
    CASE(eq, Eq, 2)
    CASE(ne, Ne, 2)
    CASE(lt, Lt, 2)
    CASE(le, Le, 2)
    CASE(gt, Gt, 2)
    CASE(ge, Ge, 2)
    CASE(logical_and, LogicalAnd, 2)
    CASE(logical_or, LogicalOr, 2)
    CASE(where, Where, 3)
    default:
      break;
  }
  if constexpr (!std::is_same_v<C, int64_t>) {
    switch (function) {
      CASE(sqrt, Sqrt, 1)
      CASE(rsqrt, Rsqrt, 1)
      CASE(exp, Exp, 1)
      CASE(log, Log, 1)
      CASE(log1p, Log1p, 1)
      CASE(sin, Sin, 1)
      CASE(cos, Cos, 1)
      CASE(gelu, Gelu, 1)
      CASE(gelu_tanh, GeluTanh, 1)
      CASE(silu, Silu, 1)
      CASE(sigmoid, Sigmoid, 1)
      CASE(tanh, Tanh, 1)
      CASE(softplus, Softplus, 1)
      CASE(div, Div, 2)
      CASE(pow, Pow, 2)
      CASE(abs_gradient, AbsGradient, 2)
      CASE(square_gradient, SquareGradient, 2)
      CASE(sqrt_gradient, SqrtGradient, 2)
      CASE(rsqrt_gradient, RsqrtGradient, 2)
      CASE(log1p_gradient, Log1pGradient, 2)
      CASE(sin_gradient, SinGradient, 2)
      CASE(cos_gradient, CosGradient, 2)
      CASE(clamp_gradient, ClampGradient, 2)
      CASE(relu_gradient, ReluGradient, 2)
      CASE(gelu_gradient, GeluGradient, 2)
      CASE(gelu_tanh_gradient, GeluTanhGradient, 2)
      CASE(silu_gradient, SiluGradient, 2)
      CASE(sigmoid_gradient, SigmoidGradient, 2)
      CASE(tanh_gradient, TanhGradient, 2)
      CASE(softplus_gradient, SoftplusGradient, 2)
      CASE(maximum_gradient, MaximumGradient, 3)
      CASE(div_gradient, DivGradient, 3)
      CASE(pow_base_gradient, PowBaseGradient, 3)
      CASE(pow_exponent_gradient, PowExponentGradient, 3)
      CASE(scaled_difference, ScaledDifference, 3)
      CASE(select_equal, SelectEqual, 3)
      CASE(exp_difference, ExpDifference, 3)
      CASE(norm_gradient, NormGradient, 3)
      default:
        break;
    }
  }
#undef CASE
  return nullptr;
}
