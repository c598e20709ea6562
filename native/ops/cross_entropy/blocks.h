// Sums and gradients of one block of a row, on vectors. With v the logits after the softcap and k
// the inverse temperature that is still to be applied, a block gives max v, sum e^((v-max)k) and
// what the options need; differences are taken before scaling, so |v| may be 2^24. The plain form
// (no softcap, temperature, smoothing or probabilities) is what training runs most.

namespace cross_entropy {

template <class Real>
struct LogitVectors {
  VectorMap<Real> map;
  Real k;

  explicit LogitVectors(const LogitMap& m) : map(m), k(m.capped ? Real(1) : Real(m.in)) {}
  vector_t<Real> value(vector_t<Real> x) const { return map.capped ? map.value(x) : x; }
  Real value(Real x) const { return value(splat(x))[0]; }
};

template <class T>
struct Block {
  using Real = accumulator_t<T>;
  const T* x;
  int64_t n;
  int64_t target;       // in the block, or outside [0, n)
  const Real* q;        // weights of the classes; null: all 1
  bool soft, weighted;  // leave the largest out instead of the target; sum q and q (max - v) k
};

template <class Real>
struct BlockSums {
  Real max, sum;
  Real below, weight;  // sum q (max - v) k, sum q
  Real largest;        // soft: how many v equal max; they are not in `sum`
};

constexpr int kUnroll = 4;         // vectors at a time, so that their latencies overlap
constexpr int kGeneralUnroll = 2;  // has more to do for each
constexpr int kChain = 16;         // additions in a row: many equal terms all round the same way
#define SURPRISAL_UNROLL _Pragma("GCC unroll 8")

// While one block is summed the next one comes from memory: without this, finding the maximum
// waits for every line of it.
template <class T>
inline void prefetch(const T* p, int64_t bytes) {
  SURPRISAL_UNROLL
  for (int64_t at = 0; at < bytes; at += 64)
    __builtin_prefetch(reinterpret_cast<const char*>(p) + at, 0, 3);
}

template <class Real>
inline typename VectorOf<Real>::mask lane_numbers() {
  typename VectorOf<Real>::mask lanes;
  for (int i = 0; i < kLanes<Real>; ++i) lanes[i] = i;
  return lanes;
}

template <class Real>
inline auto lane_of(int64_t lane) {
  return std::conditional_t<sizeof(Real) == 4, int32_t, int64_t>(lane);
}

// v with `x` in one lane.
template <class Real>
inline vector_t<Real> with_lane(vector_t<Real> v, int64_t lane, Real x) {
  const typename VectorOf<Real>::mask here = lane_numbers<Real>() == lane_of<Real>(lane);
  return select(here, splat(x), v);
}

// The vector that ends with element n-1, n no multiple of the lanes. Lanes whose elements have been
// in an earlier vector, or with n < lanes those from n on, hold `fill`.
template <class T>
inline vector_t<accumulator_t<T>> load_last(const T* x, int64_t n, accumulator_t<T> fill) {
  using Real = accumulator_t<T>;
  constexpr int L = kLanes<Real>;
  if (n < L) return load_wide_part(x, n, fill);
  return select(lane_numbers<Real>() < lane_of<Real>(L - n % L), splat(fill), load_wide(x + n - L));
}

// Where element i of the block lies in the vector of load_last.
template <int L>
inline int64_t lane_in_last(int64_t i, int64_t n) {
  return n < L ? i : i - (n - L);
}

template <class T>
inline accumulator_t<T> largest(const T* x, int64_t n) {
  using Real = accumulator_t<T>;
  constexpr int L = kLanes<Real>;
  // Starting at the lowest finite number, a block of -inf alone still has a max to subtract.
  vector_t<Real> m[kUnroll];
  for (auto& v : m) v = splat(std::numeric_limits<Real>::lowest());
  int64_t i = 0;
  for (; i + kUnroll * L <= n; i += kUnroll * L) {
    SURPRISAL_UNROLL
    for (int u = 0; u < kUnroll; u += 2) {
      const Pair<Real> v = load_pair(x + i + u * L);
      m[u] = max(v.a, m[u]);
      m[u + 1] = max(v.b, m[u + 1]);
    }
  }
  for (; i + L <= n; i += L) m[0] = max(load_wide(x + i), m[0]);
  if (i < n) m[1] = max(load_last(x, n, std::numeric_limits<Real>::lowest()), m[1]);
  return reduce_max(max(max(m[0], m[1]), max(m[2], m[3])));
}

template <class T>
inline BlockSums<accumulator_t<T>> plain_sums(const Block<T>& b, int64_t ahead) {
  using Real = accumulator_t<T>;
  constexpr int L = kLanes<Real>;
  constexpr Real kNone = -std::numeric_limits<Real>::infinity();
  const Real top = largest(b.x, b.n);
  const vector_t<Real> reference = splat(top);
  vector_t<Real> sum[kUnroll] = {};
  const auto range = [&](int64_t i, int64_t end) __attribute__((always_inline)) {
    while (i + kUnroll * L <= end) {
      vector_t<Real> part[kUnroll] = {};
      for (int c = 0; c < kChain && i + kUnroll * L <= end; ++c, i += kUnroll * L) {
        prefetch(b.x + i + ahead, kUnroll * L * sizeof(T));
        SURPRISAL_UNROLL
        for (int u = 0; u < kUnroll; u += 2) {
          const Pair<Real> v = load_pair(b.x + i + u * L);
          part[u] += exp_nonpositive(v.a - reference);
          part[u + 1] += exp_nonpositive(v.b - reference);
        }
      }
      SURPRISAL_UNROLL
      for (int u = 0; u < kUnroll; ++u) sum[u] += part[u];
    }
    for (; i < end; i += L) sum[0] += exp_nonpositive(load_wide(b.x + i) - reference);
  };
  const int64_t whole = b.n / L * L;
  int64_t from = 0;
  if (b.target >= 0 && b.target < whole) {
    const int64_t at = b.target / L * L;
    range(0, at);
    vector_t<Real> v = load_wide(b.x + at);
    v = with_lane(v, b.target - at, kNone);
    sum[1] += exp_nonpositive(v - reference);
    from = at + L;
  }
  range(from, whole);
  if (whole < b.n) {
    vector_t<Real> v = load_last(b.x, b.n, kNone);
    if (b.target >= whole && b.target < b.n)
      v = with_lane(v, lane_in_last<L>(b.target, b.n), kNone);
    sum[2] += exp_nonpositive(v - reference);
  }
  return {top, reduce_add((sum[0] + sum[1]) + (sum[2] + sum[3])), 0, 0, 0};
}

// The running sums of a block, kGeneralUnroll vectors of each; add() fills the parts that fold()
// moves into the totals.
template <class Real>
struct GeneralTerms {
  using V = vector_t<Real>;
  using Several = V[kGeneralUnroll];
  V reference, k;
  bool soft, weighted;
  Several sum = {}, below = {}, weight = {}, largest = {};
  Several sum_part = {}, below_part = {}, weight_part = {};

  // The target's lane, if >= 0, adds no exponential.
  __attribute__((always_inline)) void add(int u, V v, V q, int64_t target) {
    const V d = (v - reference) * k, zero{};
    V e = exp_nonpositive(d);
    if (target >= 0) e = with_lane(e, target, Real(0));
    if (soft) {
      largest[u] += select(v == reference, splat(Real(1)), zero);
      e = select(v == reference, zero, e);
    }
    sum_part[u] += e;
    if (weighted) {
      // A class without weight adds nothing, also where its logit is -inf.
      below_part[u] += select(q == zero, zero, -d * q);
      weight_part[u] += q;
    }
  }
  __attribute__((always_inline)) void fold() {
    SURPRISAL_UNROLL
    for (int u = 0; u < kGeneralUnroll; ++u) {
      sum[u] += sum_part[u];
      below[u] += below_part[u];
      weight[u] += weight_part[u];
      sum_part[u] = below_part[u] = weight_part[u] = V{};
    }
  }
};

template <class T>
BlockSums<accumulator_t<T>> general_sums(const Block<T>& b, const LogitVectors<accumulator_t<T>>& f,
                                         int64_t ahead) {
  using Real = accumulator_t<T>;
  using V = vector_t<Real>;
  constexpr int L = kLanes<Real>;
  constexpr int64_t kStep = kGeneralUnroll * L;
  const Real top = f.value(largest(b.x, b.n));
  const V one = splat(Real(1)), none = splat(-std::numeric_limits<Real>::infinity());
  GeneralTerms<Real> terms{splat(top), splat(f.k), b.soft, b.weighted};
  const auto at = [&](int u, int64_t i, int64_t target) __attribute__((always_inline)) {
    terms.add(u, f.value(load_wide(b.x + i)), b.q ? load(b.q + i) : one, target);
  };
  const auto range = [&](int64_t i, int64_t end) __attribute__((always_inline)) {
    while (i + kStep <= end) {
      for (int c = 0; c < kChain && i + kStep <= end; ++c, i += kStep) {
        prefetch(b.x + i + ahead, kStep * sizeof(T));
        SURPRISAL_UNROLL
        for (int u = 0; u < kGeneralUnroll; ++u) at(u, i + u * L, -1);
      }
      terms.fold();
    }
    for (; i < end; i += L) at(0, i, -1);
  };
  const int64_t whole = b.n / L * L;
  int64_t from = 0;
  if (b.target >= 0 && b.target < whole) {
    from = b.target / L * L;
    range(0, from);
    at(1, from, b.target - from);
    from += L;
  }
  range(from, whole);
  if (whole < b.n) {
    // In lanes that are not new, v = -inf adds no exponential and q = 0 nothing else.
    const auto past = lane_of<Real>(b.n < L ? 0 : L - b.n % L);
    const auto end = lane_of<Real>(b.n < L ? b.n : L);
    const auto fresh = (lane_numbers<Real>() >= past) & (lane_numbers<Real>() < end);
    const V v = select(fresh, f.value(load_last(b.x, b.n, Real(0))), none);
    const V q = b.q ? load_last(b.q, b.n, Real(0)) : select(fresh, one, V{});
    const bool here = b.target >= whole && b.target < b.n;
    terms.add(0, v, q, here ? lane_in_last<L>(b.target, b.n) : -1);
  }
  terms.fold();
  const auto total = [](const V(&v)[kGeneralUnroll]) { return reduce_add(v[0] + v[1]); };
  return {top, total(terms.sum), total(terms.below), total(terms.weight), total(terms.largest)};
}

// d row/d logit = (p e^((v-max)k) - w q) slope. Where `sure` (one class has more than half of the
// probability), that class gets w (q_sum - q) + largest, which keeps its digits as p nears 1.
template <class Real>
struct GradientRow {
  Real max, p, w;
  bool sure;
  Real q_sum, largest;
};

// Stores f(i) for vectors that cover [0, n), n no less than one; where they overlap they agree.
// With `stream` stores bypass the cache.
template <class T, class F>
inline void store_vectors(T* out, int64_t n, bool stream, F&& f) {
  constexpr int L = kLanes<accumulator_t<T>>;
  int64_t i = 0;
  if (stream) {
    const int64_t past = reinterpret_cast<uintptr_t>(out) % (L * sizeof(T)) / sizeof(T);
    if (past != 0) {
      store_narrow(out, f(0));
      i = L - past;
    }
    for (; i + L <= n; i += L) stream_narrow(out + i, f(i));
  }
  for (; i + L <= n; i += L) store_narrow(out + i, f(i));
  if (i < n) store_narrow(out + n - L, f(n - L));
}

template <class T>
inline void plain_gradient(const T* x, int64_t n, const GradientRow<accumulator_t<T>>& row, T* out,
                           bool stream) {
  using Real = accumulator_t<T>;
  constexpr int64_t P = kPair<T>;
  const vector_t<Real> reference = splat(row.max), p = splat(row.p);
  const auto one = [&](vector_t<Real> v) __attribute__((always_inline)) {
    return exp_nonpositive(v - reference) * p;
  };
  if (n < kLanes<Real>) return store_narrow_part(out, one(load_wide_part(x, n, Real(0))), n);
  if (n < P) {
    return store_vectors(out, n, false, [&](int64_t i) { return one(load_wide(x + i)); });
  }
  const auto two = [&](int64_t i) __attribute__((always_inline)) {
    const Pair<Real> v = load_pair(x + i);
    return Pair<Real>{one(v.a), one(v.b)};
  };
  int64_t i = 0;
  if (stream) {
    const int64_t past = reinterpret_cast<uintptr_t>(out) % (P * sizeof(T)) / sizeof(T);
    if (past != 0) {
      store_pair(out, two(0));
      i = P - past;
    }
    for (; i + 2 * P <= n; i += 2 * P) {
      stream_pair(out + i, two(i));
      stream_pair(out + i + P, two(i + P));
    }
  } else {
    for (; i + 2 * P <= n; i += 2 * P) {
      store_pair(out + i, two(i));
      store_pair(out + i + P, two(i + P));
    }
  }
  if (i + P <= n) {
    store_pair(out + i, two(i));
    i += P;
  }
  if (i < n) store_pair(out + n - P, two(n - P));
}

template <class T>
void general_gradient(const Block<T>& b, const LogitVectors<accumulator_t<T>>& f,
                      const GradientRow<accumulator_t<T>>& row, T* out, bool stream) {
  using Real = accumulator_t<T>;
  using V = vector_t<Real>;
  const V reference = splat(row.max), k = splat(f.k), p = splat(row.p), w = splat(row.w);
  const V one = splat(Real(1)), q_sum = splat(row.q_sum), largest = splat(row.largest);
  const V none = splat(-std::numeric_limits<Real>::infinity());
  const auto gradient = [&](V x, V q) __attribute__((always_inline)) {
    V slope = k;
    const V v = f.map.capped ? f.map.value(x, &slope) : x;
    const V share = exp_nonpositive((v - reference) * k) * p;
    V g = share - w * q;
    if (row.sure) g = select(v == reference, fma(w, q_sum - q, largest), g);
    // A logit of -inf moves nothing; in a row of NaN `share` is NaN.
    g = select(v == none, share, g);
    return g * slope;
  };
  if (b.n < kLanes<Real>) {
    const V q = b.q ? load_wide_part(b.q, b.n, Real(0)) : one;
    return store_narrow_part(out, gradient(load_wide_part(b.x, b.n, Real(0)), q), b.n);
  }
  store_vectors(
      out, b.n, stream, [&](int64_t i) __attribute__((always_inline)) {
        return gradient(load_wide(b.x + i), b.q ? load(b.q + i) : one);
      });
}

// d row/d t = scale w (lse - z): what a probability's own logarithm costs.
template <class T>
void target_gradient(const Block<T>& b, const LogitVectors<accumulator_t<T>>& f,
                     accumulator_t<T> max, accumulator_t<T> log_sum, accumulator_t<T> scale,
                     accumulator_t<T>* out) {
  using Real = accumulator_t<T>;
  using V = vector_t<Real>;
  const V reference = splat(max), k = splat(f.k), one = splat(Real(1)), zero{};
  const auto gradient = [&](V x, V q) __attribute__((always_inline)) {
    const V surprisal = splat(log_sum) - (f.value(x) - reference) * k;
    // Without weight 0, also where the surprisal is infinite; in a row of NaN `log_sum` is NaN.
    return select(q == zero, zero * splat(log_sum), splat(scale) * q * surprisal);
  };
  if (b.n < kLanes<Real>) {
    const V q = b.q ? load_wide_part(b.q, b.n, Real(0)) : one;
    return store_narrow_part(out, gradient(load_wide_part(b.x, b.n, Real(0)), q), b.n);
  }
  store_vectors(
      out, b.n, false, [&](int64_t i) __attribute__((always_inline)) {
        return gradient(load_wide(b.x + i), b.q ? load(b.q + i) : one);
      });
}

}  // namespace cross_entropy
