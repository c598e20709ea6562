// LogitMap (core/row_loss.h) on vectors. Included inside a target's namespace, so without a guard.

// With m = e^(2|u|) - 1, built without cancellation, and r = 1/(m+2): tanh |u| = m r = 1 - 2r, good
// to 3 ulp, and its derivative 4 r (1-r), which keeps its digits where tanh saturates.
__attribute__((always_inline)) inline F32 tanh_of_cap(F32 u, F32* derivative = nullptr) {
  // Far beyond where tanh rounds to 1, and still finite. In this order a NaN passes.
  const F32 twice = abs(u) * 2.0f;
  const F32 x = min(splat(86.0f), twice);
  const F32 magic = splat(12582912.0f);
  const F32 shifted = fma(x, splat(1.44269504088896341f), magic);
  const F32 n = shifted - magic;
  const F32 rest =
      fma(n, splat(-1.42860682030941723212e-6f), fma(n, splat(-0.693145751953125f), x));
  F32 q = splat(1.9875691500e-4f);
  q = fma(q, rest, splat(1.3981999507e-3f));
  q = fma(q, rest, splat(8.3334519073e-3f));
  q = fma(q, rest, splat(4.1665795894e-2f));
  q = fma(q, rest, splat(1.6666665459e-1f));
  q = fma(q, rest, splat(5.0000001201e-1f));
  const F32 fraction = fma(q * rest, rest, rest);  // e^rest - 1
  const I32 k = reinterpret_cast<I32>(shifted) - reinterpret_cast<I32>(magic);
  const F32 scale = reinterpret_cast<F32>((k + 127) << 23);
  const F32 m = fma(fraction, scale, scale - 1.0f);
  const F32 r = 1.0f / (m + 2.0f);
  // At the clamp the derivative is below 1e-36; a logit of -inf must have exactly none.
  if (derivative) *derivative = select(twice > 86.0f, F32{}, 4.0f * r * (1.0f - r));
  const F32 y = select(m > 2.0f, 1.0f - 2.0f * r, m * r);
  const I32 sign = reinterpret_cast<I32>(u) & splat(int32_t(0x80000000));
  return reinterpret_cast<F32>(reinterpret_cast<I32>(select(u != u, u, y)) | sign);
}
inline F64 tanh_of_cap(F64 u, F64* derivative = nullptr) {
  F64 y;
  for (int i = 0; i < kLanes<double>; ++i) y[i] = std::tanh(u[i]);
  if (derivative) {
    const F64 e = exp_nonpositive(max(u, -u) * -2.0);
    *derivative = 4.0 * e / ((1.0 + e) * (1.0 + e));
  }
  return y;
}

template <class Real>
struct VectorMap {
  using V = vector_t<Real>;
  bool capped;
  V in, out, steepest;

  explicit VectorMap(const LogitMap& map)
      : capped(map.capped),
        in(splat(Real(map.in))),
        out(splat(Real(map.out))),
        steepest(splat(Real(map.in * map.out))) {}

  V value(V x) const { return capped ? out * tanh_of_cap(in * x) : in * x; }
  // The same bits as value(x), and dz/dx.
  __attribute__((always_inline)) V value(V x, V* slope) const {
    *slope = in;
    if (!capped) return in * x;
    const V z = out * tanh_of_cap(in * x, slope);
    *slope = steepest * *slope;
    return z;
  }
  V slope(V x) const {
    V slope;
    value(x, &slope);
    return slope;
  }
};
