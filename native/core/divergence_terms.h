// Divergences between two softmax rows, term by term: one definition for the CPU's vectors and for
// CUDA's threads. Included inside a namespace, once for each instruction set, so without a guard.
// V is a scalar or a vector of them; Math gives constant, select, exp, log1p and tests for it.
// With p, q, d, m and phi as in ops/divergence/op.h, a = log p/m and b = log q/m, the derivatives
// by the logits over the temperature are
//   kl              student q - p                 teacher p (d - KL)
//   reverse_kl      student q (-d - KL)           teacher p - q
//   jensen_shannon  student (1-beta) q (b - B)    teacher beta p (a - A)     A = KL(p|m), B =
//   KL(q|m)

template <class V>
struct Pair {
  V p, q, d;
};

template <class V, class Math>
struct Terms {
  using M = Math;

  // phi(x) = x^2/2 (1 - x/3 (1 - x/4 (1 - ...))) for |x| < 1/2: 8 factors leave 3e-9, 15 2e-16.
  template <int K = 2>
  static SP_HOST_DEVICE V rest_of_series(V x) {
    if constexpr (K > M::kSeries) {
      return M::constant(0);
    } else {
      constexpr double kRatio = 1.0 / (K + 1);
      return (M::constant(1) - rest_of_series<K + 1>(x)) * x * M::constant(kRatio);
    }
  }
  static SP_HOST_DEVICE V phi_near(V x) {
    return x * x * M::constant(0.5) * (M::constant(1) - rest_of_series(x));
  }
  // own phi(x), where own e^-x = other.
  static SP_HOST_DEVICE V weighted(V own, V other, V x) {
    const V far = other - own + own * x;
    const V value = M::select(M::near(x), own * phi_near(x), far);
    return M::select(M::is_zero(own), other, value);
  }
  // other - own, by its digits where they are close.
  static SP_HOST_DEVICE V gap(V own, V other, V x) {
    return M::select(M::near(x), own * (phi_near(x) - x), other - own);
  }

  // log p/m and log q/m.
  static SP_HOST_DEVICE void against_mixture(V d, double beta, V& a, V& b) {
    const V zero = M::constant(0);
    const auto above = M::not_less(d, zero);  // p >= q
    const V x = M::select(above, d, zero - d);
    const V below_one = M::select(M::near(x), phi_near(x) - x, M::exp(zero - x) - M::constant(1));
    const V share = M::select(above, M::constant(1 - beta), M::constant(beta));
    const V l = M::log1p(share * below_one);
    a = M::select(above, zero - l, d - l);
    b = M::select(above, zero - d - l, zero - l);
  }

  // The term of one class; jensen_shannon: without the weights beta and 1 - beta, in two parts.
  static SP_HOST_DEVICE void value(Kind kind, double beta, const Pair<V>& c, V& first, V& second) {
    if (kind == Kind::kl) {
      first = weighted(c.p, c.q, c.d);
    } else if (kind == Kind::reverse_kl) {
      first = weighted(c.q, c.p, M::constant(0) - c.d);
    } else {
      V a, b;
      against_mixture(c.d, beta, a, b);
      const V m = M::constant(beta) * c.p + M::constant(1 - beta) * c.q;
      first = weighted(c.p, m, a);
      second = weighted(c.q, m, b);
    }
  }

  // By the student's and the teacher's logit.
  static SP_HOST_DEVICE void slope(Kind kind, double beta, const PairSums& row, const Pair<V>& c,
                                   V& student, V& teacher) {
    const V zero = M::constant(0);
    const auto centred = [&](V own, V log_ratio, double mean) {
      return M::select(M::is_zero(own), zero, own * (log_ratio - M::constant(mean)));
    };
    if (kind == Kind::kl) {
      student = gap(c.p, c.q, c.d);
      teacher = centred(c.p, c.d, row.loss);
    } else if (kind == Kind::reverse_kl) {
      student = centred(c.q, zero - c.d, row.loss);
      teacher = gap(c.q, c.p, zero - c.d);
    } else {
      V a, b;
      against_mixture(c.d, beta, a, b);
      student = M::constant(1 - beta) * centred(c.q, b, row.second);
      teacher = M::constant(beta) * centred(c.p, a, row.first);
    }
  }
};
