// LogitMap (core/row_loss.h) on vectors. Included inside a target's namespace, so without a guard.

// tanh u = m/(m+2), good to 3 ulp, with m = e^(2|u|) - 1 built without cancellation; the sign is u's.
inline F32 tanh_of_cap(F32 u) {
  // Beyond 9.02 tanh rounds to 1. In this order a NaN passes.
  const F32 x = min(splat(18.2f), abs(u) * 2.0f);
  const F32 magic = splat(12582912.0f);
  const F32 shifted = fma(x, splat(1.44269504088896341f), magic);
  const F32 n = shifted - magic;
  const F32 r = fma(n, splat(-1.42860682030941723212e-6f), fma(n, splat(-0.693145751953125f), x));
  F32 q = splat(1.9875691500e-4f);
  q = fma(q, r, splat(1.3981999507e-3f));
  q = fma(q, r, splat(8.3334519073e-3f));
  q = fma(q, r, splat(4.1665795894e-2f));
  q = fma(q, r, splat(1.6666665459e-1f));
  q = fma(q, r, splat(5.0000001201e-1f));
  const F32 fraction = fma(q * r, r, r);  // e^r - 1
  const I32 k = reinterpret_cast<I32>(shifted) - reinterpret_cast<I32>(magic);
  const F32 scale = reinterpret_cast<F32>((k + 127) << 23);
  const F32 m = fma(fraction, scale, scale - 1.0f);
  const I32 sign = reinterpret_cast<I32>(u) & splat(int32_t(0x80000000));
  const F32 y = m / (m + 2.0f);
  return reinterpret_cast<F32>(reinterpret_cast<I32>(select(u != u, u, y)) | sign);
}
inline F64 tanh_of_cap(F64 u) {
  F64 y;
  for (int i = 0; i < kLanes<double>; ++i) y[i] = std::tanh(u[i]);
  return y;
}

template <class Real>
struct VectorMap {
  using V = vector_t<Real>;
  bool capped;
  V in, out, slope_max;

  explicit VectorMap(const LogitMap& map)
      : capped(map.capped),
        in(splat(Real(map.in))),
        out(splat(Real(map.out))),
        slope_max(splat(Real(map.in * map.out))) {}

  V value(V x) const { return capped ? out * tanh_of_cap(in * x) : in * x; }
  // dz/dx, in the form that keeps its digits where the cap saturates.
  V slope(V x) const {
    if (!capped) return in;
    const V u = in * x;
    const V e = exp_nonpositive(max(u, -u) * Real(-2));
    const V one = splat(Real(1));
    return slope_max * (e * Real(4)) / ((one + e) * (one + e));
  }
};
