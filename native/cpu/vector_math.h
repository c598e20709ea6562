// Elementary functions on the vectors of cpu/simd.h, included inside a target's namespace after it.
// A float32 function is evaluated in float64 by polynomials that are good to about 1e-9 and rounded
// once, so it is right to well under 1 ulp on every target, with FMA or without; a float64
// function calls std:: per lane. The polynomials interpolate at Chebyshev nodes of the interval
// that each comment names. Special values follow C99 (annex F).

typedef float HalfF32 __attribute__((vector_size(SURPRISAL_TARGET_BYTES / 2)));
typedef uint64_t U64 __attribute__((vector_size(SURPRISAL_TARGET_BYTES)));

template <F64 (*Function)(F64)>
inline F32 in_float64(F32 x) {
  HalfF32 half[2];
  std::memcpy(half, &x, sizeof half);
  for (HalfF32& h : half)
    h = __builtin_convertvector(Function(__builtin_convertvector(h, F64)), HalfF32);
  std::memcpy(&x, half, sizeof half);
  return x;
}

template <class F>
inline F64 by_lane(F64 x, F f) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = f(x[i]);
  return x;
}
template <class F>
inline F32 by_lane(F32 x, F f) {
  for (int i = 0; i < kLanes<float>; ++i) x[i] = f(x[i]);
  return x;
}

inline F64 abs(F64 a) {
  return reinterpret_cast<F64>(reinterpret_cast<I64>(a) & (I64{} + int64_t{0x7fffffffffffffff}));
}
inline F64 copy_sign(F64 magnitude, F64 sign) {
  const I64 mask = I64{} + int64_t{0x7fffffffffffffff};
  return reinterpret_cast<F64>((reinterpret_cast<I64>(magnitude) & mask) |
                               (reinterpret_cast<I64>(sign) & ~mask));
}

template <int N>
inline F64 polynomial(F64 x, const double (&c)[N]) {
  F64 p = splat(c[N - 1]);
  for (int i = N - 2; i >= 0; --i) p = fma(p, x, splat(c[i]));
  return p;
}

// Float-accurate kernels on float64 vectors whose values come from, or go to, float32.
namespace wide {

// Adding it rounds |x| < 2^51 to an integer, which then stands in the low bits.
constexpr double kRound = 0x1.8p52;

// x = n ln2 + r, |r| <= ln2/2. Beyond +-110 a float32 result is 0 or infinite anyway.
inline F64 exp(F64 x) {
  static constexpr double kC[] = {0.5,
                                  0.16666666719112209,
                                  0.041666666719095499,
                                  0.0083332984328375449,
                                  0.0013888853998720061,
                                  0.00019899316337192174,
                                  2.4859620581890566e-5};
  const F64 clamped = min(max(x, splat(-110.0)), splat(110.0));
  const F64 shifted = fma(clamped, splat(1.4426950408889634), splat(kRound));
  const F64 n = shifted - kRound;
  const F64 r = fma(n, splat(-0.6931471805599453), clamped);
  const F64 p = fma(polynomial(r, kC), r * r, r) + 1.0;
  const I64 scale = (reinterpret_cast<I64>(shifted) + 1023) << 52;
  return select(x != x, x, p * reinterpret_cast<F64>(scale));
}

// x = 2^e m, sqrt(1/2) <= m < sqrt(2); log m = 2 atanh(s), s = (m-1)/(m+1), s^2 <= 0.0295.
inline F64 log(F64 x) {
  static constexpr double kC[] = {2.0,
                                  0.66666666666551433,
                                  0.40000000062414607,
                                  0.28571415911367203,
                                  0.22223442534475219,
                                  0.18121669230963568,
                                  0.16840934447440911};
  const U64 bits = reinterpret_cast<U64>(x);  // unsigned: a NaN's overflow
  // The bits above those of sqrt(1/2), with 1023 added to the exponent to keep it positive: placed
  // under the exponent of 2^52 it reads as a double without an integer conversion.
  const U64 offset = bits + (uint64_t{0x3ff0000000000000} - uint64_t{0x3fe6a09e667f3bcd});
  const U64 exponent = offset & uint64_t{0x7ff0000000000000};
  const F64 m = reinterpret_cast<F64>(bits - exponent + uint64_t{0x3ff0000000000000});
  const F64 e =
      reinterpret_cast<F64>((exponent >> 52) | uint64_t{0x4330000000000000}) - (0x1p52 + 1023.0);
  const F64 s = (m - 1.0) / (m + 1.0);
  F64 y = fma(e, splat(0.6931471805599453), s * polynomial(s * s, kC));
  y = select(x == 0.0, splat(-std::numeric_limits<double>::infinity()), y);
  y = select(x < 0.0, splat(std::numeric_limits<double>::quiet_NaN()), y);
  return select(x < std::numeric_limits<double>::infinity(), y, x);
}

inline F64 log1p(F64 x) {
  // 1 + x has an error of 1e-16, too much beside a small x; the series leaves x^4/4.
  const F64 small = x * fma(x, fma(x, splat(1.0 / 3), splat(-0.5)), splat(1.0));
  const F64 y = select(abs(x) < 0x1p-10, small, log(x + 1.0));
  return select(x == 0.0, x, y);  // keeps -0
}

inline F64 tanh(F64 x) {
  const F64 magnitude = abs(x);
  const F64 t = exp(magnitude * -2.0);
  const F64 square = x * x;
  const F64 small =
      fma(magnitude * square, fma(square, splat(2.0 / 15), splat(-1.0 / 3)), magnitude);
  return copy_sign(select(magnitude < 0x1p-7, small, (1.0 - t) / (1.0 + t)), x);
}

// erfc(x) = e^(-x^2) t P(t), t = 2/(2+x), x >= 0.
inline F64 erfc_positive(F64 x) {
  static constexpr double kC[] = {0.282094792003409,   0.282094715536092,  0.246836833531892,
                                  0.176238997142515,   0.0842857184600991, -0.00559183697589363,
                                  -0.0657772227130133, 0.0247620044683705, -0.280041871412909,
                                  0.587850698617937,   -0.510431760130108, 0.213732579452466,
                                  -0.0360536487883175};
  const F64 t = 2.0 / (x + 2.0);
  return exp(-x * x) * t * polynomial(t, kC);
}
inline F64 erfc(F64 x) {
  const F64 tail = erfc_positive(abs(x));
  return select(x != x, x, select(x < 0.0, 2.0 - tail, tail));
}

// erf(x) = x P(x^2) up to 1, 1 - erfc(x) beyond.
inline F64 erf(F64 x) {
  static constexpr double kC[] = {1.12837916709468,     -0.376126388896353,   0.112837913086046,
                                  -0.0268661332350956,  0.00522378347718925,  -0.000854263799708723,
                                  0.000119565625682073, -1.39093400218746e-5, 1.0589380641075e-6};
  const F64 magnitude = abs(x);
  const F64 far = copy_sign(1.0 - erfc_positive(magnitude), x);
  const F64 near = x * polynomial(min(x * x, splat(1.0)), kC);
  return select(x != x, x, select(magnitude < 1.0, near, far));
}

// x = k pi/2 + r, |r| <= pi/4, with pi/2 in two parts of which the first times k is exact.
// `quarter` turns a cosine into a sine of x + pi/2.
inline F64 sine(F64 x, int64_t quarter) {
  static constexpr double kSin[] = {1.0,
                                    -0.16666666666615398,
                                    0.0083333333236839694,
                                    -0.00019841263197926839,
                                    2.7555251009039543e-6,
                                    -2.4755057996406851e-8};
  static constexpr double kCos[] = {1.0,
                                    -0.49999999999999228,
                                    0.041666666666467302,
                                    -0.0013888888869590302,
                                    2.4801578404008521e-5,
                                    -2.7555212612292537e-7,
                                    2.0629203618557024e-9};
  const F64 shifted = fma(x, splat(0.6366197723675814), splat(kRound));
  const F64 k = shifted - kRound;
  const F64 r = fma(k, splat(-0x1.0b4611a626331p-34), fma(k, splat(-0x1.921fb544p+0), x));
  const I64 turns = reinterpret_cast<I64>(shifted) + quarter;
  const F64 square = r * r;
  const F64 value =
      select((turns & 1) != 0, polynomial(square, kCos), r * polynomial(square, kSin));
  return reinterpret_cast<F64>(reinterpret_cast<I64>(value) ^ ((turns & 2) << 62));
}

// The reduction above holds to 2^20. Lanes beyond are redone one by one, so that no lane's result
// depends on its neighbours.
template <double (*Far)(double)>
inline F64 sine_or(F64 x, int64_t quarter) {
  const I64 beyond = ~(abs(x) < 0x1p20);
  F64 y = sine(x, quarter);
  if (any(beyond))
    for (int i = 0; i < kLanes<double>; ++i)
      if (beyond[i]) y[i] = Far(x[i]);
  return y;
}
inline F64 sin(F64 x) { return select(x == 0.0, x, sine_or<std::sin>(x, 0)); }
inline F64 cos(F64 x) { return sine_or<std::cos>(x, 1); }

inline F64 sigmoid(F64 x) { return 1.0 / (1.0 + exp(-x)); }
inline F64 silu(F64 x) {
  // Beyond its clamp exp is no longer small enough for every x.
  return select(x < -110.0, splat(-0.0), x / (1.0 + exp(-x)));
}
inline F64 softplus(F64 x) { return max(x, splat(0.0)) + log1p(exp(-abs(x))); }

// x Phi(x): erfc keeps the left tail's digits, which 1 + erf would cancel.
inline F64 gelu(F64 x) {
  const F64 y = x * 0.5 * erfc(x * -0.70710678118654752);
  return select(x == -std::numeric_limits<double>::infinity(), splat(-0.0), y);
}
// Phi(x) + x phi(x)
inline F64 gelu_slope(F64 x) {
  const F64 near = min(max(x, splat(-16.0)), splat(16.0));
  const F64 density = exp(near * near * -0.5) * 0.3989422804014327;
  const F64 y = fma(near, density, 0.5 * erfc(near * -0.70710678118654752));
  return select(x != x, x, y);
}

// x (1 + tanh u)/2 = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3), |x| clamped to where the
// sigmoid is 0 or 1.
constexpr double kTwoRootTwoOverPi = 1.5957691216057308;
inline F64 gelu_tanh_gate(F64 x) {
  return 1.0 / (1.0 + exp(x * fma(x * x, splat(-kTwoRootTwoOverPi * 0.044715),
                                  splat(-kTwoRootTwoOverPi))));
}
inline F64 gelu_tanh(F64 x) {
  const F64 y = x * gelu_tanh_gate(min(max(x, splat(-16.0)), splat(16.0)));
  return select(x < -16.0, splat(-0.0), y);
}
inline F64 gelu_tanh_slope(F64 x) {
  const F64 near = min(max(x, splat(-16.0)), splat(16.0));
  const F64 s = gelu_tanh_gate(near);
  const F64 slope = fma(near * near, splat(3 * 0.044715), splat(1.0)) * kTwoRootTwoOverPi;
  const F64 y = s + near * s * (1.0 - s) * slope;
  return select(x != x, x, y);
}

}  // namespace wide

inline F32 log(F32 x) { return in_float64<wide::log>(x); }
inline F32 log1p(F32 x) { return in_float64<wide::log1p>(x); }
inline F32 tanh(F32 x) { return in_float64<wide::tanh>(x); }
inline F32 erf(F32 x) { return in_float64<wide::erf>(x); }
inline F32 sin(F32 x) { return in_float64<wide::sin>(x); }
inline F32 cos(F32 x) { return in_float64<wide::cos>(x); }
inline F32 sigmoid(F32 x) { return in_float64<wide::sigmoid>(x); }
inline F32 silu(F32 x) { return in_float64<wide::silu>(x); }
inline F32 softplus(F32 x) { return in_float64<wide::softplus>(x); }
inline F32 gelu(F32 x) { return in_float64<wide::gelu>(x); }
inline F32 gelu_slope(F32 x) { return in_float64<wide::gelu_slope>(x); }
inline F32 gelu_tanh(F32 x) { return in_float64<wide::gelu_tanh>(x); }
inline F32 gelu_tanh_slope(F32 x) { return in_float64<wide::gelu_tanh_slope>(x); }

// |x|^y = e^(y log|x|); a negative base needs an integer exponent, and an odd one keeps the sign.
inline F32 pow(F32 x, F32 y) {
  HalfF32 base[2], power[2];
  std::memcpy(base, &x, sizeof base);
  std::memcpy(power, &y, sizeof power);
  for (int i = 0; i < 2; ++i) {
    const F64 b = __builtin_convertvector(base[i], F64);
    const F64 p = __builtin_convertvector(power[i], F64);
    const F64 shifted = p + wide::kRound;
    const I64 odd = (reinterpret_cast<I64>(shifted) & 1) != 0;
    const F64 integer = select(shifted - wide::kRound == p, splat(1.0),
                               splat(std::numeric_limits<double>::quiet_NaN()));
    const F64 sign = select(b < 0.0, select(odd, -integer, integer), splat(1.0));
    base[i] = __builtin_convertvector(wide::exp(p * wide::log(abs(b))) * sign, HalfF32);
  }
  F32 z;
  std::memcpy(&z, base, sizeof z);
  const F32 infinity = splat(std::numeric_limits<float>::infinity());
  const I32 plain = (abs(x) < infinity) & (x != 0.0f) & (abs(y) < splat(0x1p23f));
  int32_t all = -1;
  for (int i = 0; i < kLanes<float>; ++i) all &= plain[i];
  if (!all)
    for (int i = 0; i < kLanes<float>; ++i)
      if (!plain[i]) z[i] = std::pow(x[i], y[i]);
  return z;
}

inline F64 log(F64 x) {
  return by_lane(x, [](double v) { return std::log(v); });
}
inline F64 log1p(F64 x) {
  return by_lane(x, [](double v) { return std::log1p(v); });
}
inline F64 tanh(F64 x) {
  return by_lane(x, [](double v) { return std::tanh(v); });
}
inline F64 erf(F64 x) {
  return by_lane(x, [](double v) { return std::erf(v); });
}
inline F64 sin(F64 x) {
  return by_lane(x, [](double v) { return std::sin(v); });
}
inline F64 cos(F64 x) {
  return by_lane(x, [](double v) { return std::cos(v); });
}
inline F64 sigmoid(F64 x) { return 1.0 / (1.0 + exp(-x)); }
inline F64 silu(F64 x) {
  const F64 y = x / (1.0 + exp(-x));
  return select(x == -std::numeric_limits<double>::infinity(), splat(-0.0), y);
}
inline F64 softplus(F64 x) { return max(x, splat(0.0)) + log1p(exp(-abs(x))); }
inline F64 gelu(F64 x) {
  return by_lane(
      x, [](double v) { return v < -40.0 ? -0.0 : v * 0.5 * std::erfc(v * -0.70710678118654752); });
}
inline F64 gelu_slope(F64 x) {
  return by_lane(x, [](double v) {
    const double near = v > 40.0 ? 40.0 : v < -40.0 ? -40.0 : v;
    return near * std::exp(near * near * -0.5) * 0.3989422804014327 +
           0.5 * std::erfc(near * -0.70710678118654752);
  });
}
inline F64 gelu_tanh(F64 x) {
  const F64 near = min(max(x, splat(-40.0)), splat(40.0));
  const F64 y = x * sigmoid(near * (1.0 + near * near * 0.044715) * wide::kTwoRootTwoOverPi);
  return select(x < -40.0, splat(-0.0), y);
}
inline F64 gelu_tanh_slope(F64 x) {
  const F64 near = min(max(x, splat(-40.0)), splat(40.0));
  const F64 s = sigmoid(near * (1.0 + near * near * 0.044715) * wide::kTwoRootTwoOverPi);
  const F64 slope = (1.0 + near * near * (3 * 0.044715)) * wide::kTwoRootTwoOverPi;
  return select(x != x, x, s + near * s * (1.0 - s) * slope);
}
inline F64 pow(F64 x, F64 y) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = std::pow(x[i], y[i]);
  return x;
}
