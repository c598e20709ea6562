// The vectors of one instruction set. Included by cpu/foreach_target.h inside a target's namespace,
// once per target, so it has no include guard. F32 and F64 are compiler vectors: + - * / and
// comparisons work on them; a comparison gives an integer vector of all ones or zeros.
// Arithmetic order is fixed, so a result depends only on the target.

typedef float F32 __attribute__((vector_size(SURPRISAL_TARGET_BYTES)));
typedef double F64 __attribute__((vector_size(SURPRISAL_TARGET_BYTES)));
typedef int32_t I32 __attribute__((vector_size(SURPRISAL_TARGET_BYTES)));
typedef int64_t I64 __attribute__((vector_size(SURPRISAL_TARGET_BYTES)));
typedef float F32Unaligned __attribute__((vector_size(SURPRISAL_TARGET_BYTES), aligned(4)));
typedef double F64Unaligned __attribute__((vector_size(SURPRISAL_TARGET_BYTES), aligned(8)));
typedef int32_t I32Unaligned __attribute__((vector_size(SURPRISAL_TARGET_BYTES), aligned(4)));

template <class Scalar>
struct VectorOf;
template <>
struct VectorOf<float> {
  using type = F32;
  using mask = I32;
  static constexpr int lanes = SURPRISAL_TARGET_BYTES / 4;
};
template <>
struct VectorOf<double> {
  using type = F64;
  using mask = I64;
  static constexpr int lanes = SURPRISAL_TARGET_BYTES / 8;
};
template <class Scalar>
using vector_t = typename VectorOf<Scalar>::type;
template <class Scalar>
constexpr int kLanes = VectorOf<Scalar>::lanes;

inline F32 splat(float x) { return x - F32{}; }
inline F64 splat(double x) { return x - F64{}; }
inline I32 splat(int32_t x) { return x - I32{}; }

inline F32 load(const float* p) { return *reinterpret_cast<const F32Unaligned*>(p); }
inline F64 load(const double* p) { return *reinterpret_cast<const F64Unaligned*>(p); }
inline I32 load(const int32_t* p) { return *reinterpret_cast<const I32Unaligned*>(p); }
inline void store(float* p, F32 v) { *reinterpret_cast<F32Unaligned*>(p) = v; }
inline void store(double* p, F64 v) { *reinterpret_cast<F64Unaligned*>(p) = v; }
inline void store(int32_t* p, I32 v) { *reinterpret_cast<I32Unaligned*>(p) = v; }

inline F32 select(I32 mask, F32 a, F32 b) { return mask ? a : b; }
inline F64 select(I64 mask, F64 a, F64 b) { return mask ? a : b; }

// Each target has its own (SURPRISAL_TARGET_VECTORS):
//   fma            a*b + c; one rounding where the target has FMA
//   max, min       where either operand is NaN the result is b
//   sqrt, gather   and any, whether a lane of a mask is set
//   interleave     a0 b0 a1 b1 ... in two vectors (not AVX2)
//   load_wide      kLanes<float> 16-bit floats as float32; store_narrow is the reverse
//   stream_narrow  a store that bypasses the cache, to an address aligned to what it writes, or a
//                  plain one; other threads see it at the next stream_fence
inline F32 load_wide(const float* p) { return load(p); }
inline F64 load_wide(const double* p) { return load(p); }
inline void store_narrow(float* p, F32 v) { store(p, v); }
inline void store_narrow(double* p, F64 v) { store(p, v); }
#include SURPRISAL_TARGET_VECTORS

inline F32 abs(F32 a) {
  return reinterpret_cast<F32>(reinterpret_cast<I32>(a) & splat(int32_t{0x7fffffff}));
}

// Lane sums by halving: the order never changes.
inline float reduce_add(F32 v) {
  float lane[kLanes<float>];
  store(lane, v);
  for (int width = kLanes<float> / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  return lane[0];
}
inline double reduce_add(F64 v) {
  double lane[kLanes<double>];
  store(lane, v);
  for (int width = kLanes<double> / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  return lane[0];
}
inline float reduce_max(F32 v) {
  float m = v[0];
  for (int i = 1; i < kLanes<float>; ++i) m = v[i] > m ? v[i] : m;
  return m;
}
inline double reduce_max(F64 v) {
  double m = v[0];
  for (int i = 1; i < kLanes<double>; ++i) m = v[i] > m ? v[i] : m;
  return m;
}

inline void stream_fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// The first `count` < kLanes elements; the other lanes are `fill`.
template <class T>
inline vector_t<accumulator_t<T>> load_wide_part(const T* p, int64_t count, accumulator_t<T> fill) {
  accumulator_t<T> lane[kLanes<accumulator_t<T>>];
  for (int i = 0; i < kLanes<accumulator_t<T>>; ++i) {
    if constexpr (std::is_same_v<T, double>) {
      lane[i] = i < count ? p[i] : fill;
    } else {
      lane[i] = i < count ? to_float(p[i]) : fill;
    }
  }
  return load(lane);
}
template <class T, class V>
inline void store_narrow_part(T* p, V v, int64_t count) {
  T lane[kLanes<accumulator_t<T>>];
  store_narrow(lane, v);
  for (int64_t i = 0; i < count; ++i) p[i] = lane[i];
}

// e^x to about 1 ulp: x = n ln2 + r, |r| <= ln2/2, degree-6 Taylor-minimax in r, scaled by 2^n in
// two exact steps. Overflows to inf, underflows gradually to 0; NaN and the infinities pass.
inline F32 exp(F32 x) {
  const F32 clamped = min(max(x, splat(-104.0f)), splat(89.0f));
  const F32 magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const F32 shifted = fma(clamped, splat(1.44269504088896341f), magic);
  const F32 n = shifted - magic;
  const F32 r =
      fma(n, splat(-1.42860682030941723212e-6f), fma(n, splat(-0.693145751953125f), clamped));
  F32 p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  p = fma(p * r, r, r) + 1.0f;
  const I32 k = reinterpret_cast<I32>(shifted) - reinterpret_cast<I32>(magic);
  const I32 half = k >> 1;
  const F32 scale_low = reinterpret_cast<F32>((half + 127) << 23);
  const F32 scale_high = reinterpret_cast<F32>((k - half + 127) << 23);
  const F32 y = p * scale_low * scale_high;
  return select(x != x, x, y);
}
inline F64 exp(F64 x) {
  F64 y;
  for (int i = 0; i < kLanes<double>; ++i) y[i] = std::exp(x[i]);
  return y;
}

// e^d for d <= 0, as softmax needs it: relative error 1.5e-7 near 0 and 4e-7 at most (float64:
// 2e-16), exactly 1 at 0, exactly 0 below -87.7 (-708.7). 2^n is built by a shift alone, for the
// sum in `shifted` carries the exponent's bias; a NaN passes. Less than half the time of exp, if
// inlined, for which compilers think it too long.
__attribute__((always_inline)) inline F32 exp_nonpositive(F32 d) {
  const F32 x = max(splat(-88.0f), d);
  const F32 magic = splat(12582912.0f + 127.0f);
  const F32 shifted = fma(x, splat(1.44269504088896341f), magic);
  const F32 n = shifted - magic;
#ifdef SURPRISAL_TARGET_FMA
  const F32 r = fma(n, splat(-0.693147180559945309f), x);
#else
  const F32 r = n * splat(-1.42860682030941723e-6f) + (n * splat(-0.693145751953125f) + x);
#endif
  const F32 square = r * r;
  const F32 high = fma(splat(0.008312501013278961f), r, splat(0.041890330612659454f));
  const F32 middle = fma(splat(0.16667115688323975f), r, splat(0.499992311000824f));
  const F32 p = fma(fma(high, square, middle), square, r + 1.0f);
  return p * reinterpret_cast<F32>(reinterpret_cast<I32>(shifted) << 23);
}
__attribute__((always_inline)) inline F64 exp_nonpositive(F64 d) {
  const F64 x = max(splat(-709.0), d);
  const F64 magic = splat(0x1.8p52 + 1023.0);
  const F64 shifted = fma(x, splat(1.44269504088896340736), magic);
  const F64 n = shifted - magic;
  const F64 high = fma(n, splat(-6.93147180369123816490e-01), x);
  const F64 r = fma(n, splat(-1.90821492927058770002e-10), high);
  F64 p = splat(1.0 / 6227020800);  // Taylor's series: 4e-18 is left at |r| = ln2/2
  for (const double c : {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                         1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0})
    p = fma(p, r, splat(c));
  return p * reinterpret_cast<F64>(reinterpret_cast<I64>(shifted) << 52);
}
