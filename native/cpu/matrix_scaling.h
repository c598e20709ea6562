// Sinkhorn-Knopp: u_i K_ij v_j with row sums r and column sums c by a fixed number of iterations,
// and the exact derivative through them. Included inside a target's namespace, after cpu/simd.h.
//   rows first     v_0 = 1, u_t = r/(K v_t-1), v_t = c/(Kᵀ u_t);  columns first: u_0 = 1, v_t, u_t
// With P = K∘u_T v_Tᵀ, S = log K and G the gradient by P, one pass back over the iterations gives
// vectors a_t, b_t with which, rows first,
//   dS = K∘(G∘u_T v_Tᵀ - sum_t (a_t v_t-1ᵀ + u_t b_tᵀ))
// so that K is only multiplied by vectors and no iterate of the matrix is kept: 4T(N+M) numbers.
// Elements are vectors: either each lane is a matrix of its own (kInLanes), or a row is cut into
// vectors. Sums down the columns are cut into fixed blocks of rows: bits depend on no thread count.

constexpr int64_t kScalingRows = 64;

// The widest max S - min S at which K, u, v and their products stay clear of overflow and
// underflow: each is within e^(range + log of the sizes) of 1. Beyond it: LogScaling.
template <class C>
constexpr double kScalingRange = std::is_same_v<C, double> ? 330 : 36;

template <class C, bool kInLanes>
class MatrixScaling {
  using V = vector_t<C>;
  static constexpr int64_t L = kLanes<C>;

 public:
  MatrixScaling(int64_t n, int64_t m, int64_t iterations, bool columns_first, bool gradient)
      : n_(n),
        w_(kInLanes ? m : (m + L - 1) / L),
        steps_(iterations),
        columns_first_(columns_first),
        blocks_((n + kScalingRows - 1) / kScalingRows) {
    const int64_t vectors = n_ + w_;
    const int64_t kept = 2 * (steps_ + 1) * vectors * (gradient ? 2 : 1);
    const int64_t parts = blocks_ > 1 ? blocks_ * w_ : 0;
    const int64_t all = n_ * w_ + 4 * vectors + kept + parts;
    memory_ = std::make_unique<Scratch<C>>(all * L);
    V* at = reinterpret_cast<V*>(memory_->data());
    const auto take = [&](int64_t count) { return std::exchange(at, at + count); };
    k_ = take(n_ * w_);
    r_ = take(n_);
    c_ = take(w_);
    r_inverse_ = take(n_);
    c_inverse_ = take(w_);
    gu_ = take(n_);
    gv_ = take(w_);
    u_ = take((steps_ + 1) * n_);
    v_ = take((steps_ + 1) * w_);
    if (gradient) a_ = take((steps_ + 1) * n_), b_ = take((steps_ + 1) * w_);
    if (parts) parts_ = take(parts);
  }

  // To be filled before iterate(): K, 0 in lanes beyond the matrix, and the sums.
  V* k() { return k_; }
  V* r() { return r_; }
  V* c() { return c_; }
  int64_t width() const { return w_; }

  void iterate() {
    for (int64_t i = 0; i < n_; ++i) u_[i] = splat(C{1}), r_inverse_[i] = inverse(r_[i]);
    for (int64_t j = 0; j < w_; ++j) v_[j] = splat(C{1}), c_inverse_[j] = inverse(c_[j]);
    for (int64_t t = 1; t <= steps_; ++t) {
      if (columns_first_) scale_columns(u_ + (t - 1) * n_, t);
      row_sums(v_ + (columns_first_ ? t : t - 1) * w_, u_ + t * n_);
      for (int64_t i = 0; i < n_; ++i) u_[t * n_ + i] = r_[i] * inverse(u_[t * n_ + i]);
      if (!columns_first_) scale_columns(u_ + t * n_, t);
    }
  }

  // P, at any place.
  V plan(int64_t i, int64_t j) const {
    return k_[i * w_ + j] * u_[steps_ * n_ + i] * v_[steps_ * w_ + j];
  }

  // g (n, width): the gradient by P becomes that by S, or without `times_k` the same over K.
  void differentiate(V* g, bool times_k = true) {
    rows_in_parallel([&](int64_t i) {
      V sum{};
      for (int64_t j = 0; j < w_; ++j) sum += plan(i, j) * g[i * w_ + j];
      gu_[i] = fold(sum);
    });
    sum_columns([&](int64_t i, int64_t j) { return plan(i, j) * g[i * w_ + j]; }, gv_);
    for (int64_t t = steps_; t > 0; --t) columns_first_ ? back_columns_first(t) : back(t);
    rows_in_parallel([&](int64_t i) { finish_row(i, g + i * w_, times_k); });
  }

 private:
  static V inverse(V x) { return select(x == V{}, V{}, C{1} / x); }
  static V fold(V x) {
    if constexpr (kInLanes) return x;
    return splat(reduce_add(x));
  }
  template <class F>
  void rows_in_parallel(F&& f) const {
    if (kInLanes) {
      for (int64_t i = 0; i < n_; ++i) f(i);
    } else {
      parallel_for(n_, std::max<int64_t>(1, 32768 / (w_ * L)), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) f(i);
      });
    }
  }
  void row_sums(const V* v, V* sums) const {
    rows_in_parallel([&](int64_t i) {
      const V* row = k_ + i * w_;
      V sum{};
      for (int64_t j = 0; j < w_; ++j) sum = fma(row[j], v[j], sum);
      sums[i] = fold(sum);
    });
  }
  // sums_j = sum over i of f(i, j)
  template <class F>
  void sum_columns(F&& f, V* sums) const {
    const auto block = [&](int64_t first, V* to) {
      for (int64_t j = 0; j < w_; ++j) to[j] = V{};
      for (int64_t i = first; i < std::min(n_, first + kScalingRows); ++i)
        for (int64_t j = 0; j < w_; ++j) to[j] += f(i, j);
    };
    if (blocks_ <= 1) return block(0, sums);
    const int64_t grain = std::max<int64_t>(1, 32768 / (w_ * L * kScalingRows));
    parallel_for(blocks_, grain, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) block(b * kScalingRows, parts_ + b * w_);
    });
    for (int64_t j = 0; j < w_; ++j) {
      sums[j] = parts_[j];
      for (int64_t b = 1; b < blocks_; ++b) sums[j] += parts_[b * w_ + j];
    }
  }
  void column_sums(const V* u, V* sums) const {
    sum_columns([&](int64_t i, int64_t j) { return k_[i * w_ + j] * u[i]; }, sums);
  }
  void scale_columns(const V* u, int64_t t) {
    V* v = v_ + t * w_;
    column_sums(u, v);
    for (int64_t j = 0; j < w_; ++j) v[j] = c_[j] * inverse(v[j]);
  }

  // gu and gv are the derivatives by log u_t and log v_t; they become those of step t - 1.
  void back(int64_t t) {
    V *a = a_ + t * n_, *b = b_ + t * w_;
    const V *u = u_ + t * n_, *v = v_ + t * w_;
    for (int64_t j = 0; j < w_; ++j) b[j] = v[j] * gv_[j] * c_inverse_[j];
    row_sums(b, a);
    for (int64_t i = 0; i < n_; ++i) {
      a[i] = u[i] * (gu_[i] - u[i] * a[i]) * r_inverse_[i];
      gu_[i] = V{};
    }
    if (t == 1) return;
    column_sums(a, gv_);
    for (int64_t j = 0; j < w_; ++j) gv_[j] = -v_[(t - 1) * w_ + j] * gv_[j];
  }
  void back_columns_first(int64_t t) {
    V *a = a_ + t * n_, *b = b_ + t * w_;
    const V *u = u_ + t * n_, *v = v_ + t * w_;
    for (int64_t i = 0; i < n_; ++i) a[i] = u[i] * gu_[i] * r_inverse_[i];
    column_sums(a, b);
    for (int64_t j = 0; j < w_; ++j) {
      b[j] = v[j] * (gv_[j] - v[j] * b[j]) * c_inverse_[j];
      gv_[j] = V{};
    }
    if (t == 1) return;
    row_sums(b, gu_);
    for (int64_t i = 0; i < n_; ++i) gu_[i] = -u_[(t - 1) * n_ + i] * gu_[i];
  }

  void finish_row(int64_t i, V* g, bool times_k) const {
    const V last = u_[steps_ * n_ + i];
    for (int64_t j = 0; j < w_; ++j) g[j] = g[j] * last * v_[steps_ * w_ + j];
    for (int64_t t = 1; t <= steps_; ++t) {
      const V a = a_[t * n_ + i], u = u_[(columns_first_ ? t - 1 : t) * n_ + i];
      const V *v = v_ + (columns_first_ ? t : t - 1) * w_, *b = b_ + t * w_;
      for (int64_t j = 0; j < w_; ++j) g[j] -= fma(a, v[j], u * b[j]);
    }
    if (!times_k) return;
    for (int64_t j = 0; j < w_; ++j) g[j] = g[j] * k_[i * w_ + j];
  }

  const int64_t n_, w_, steps_;
  const bool columns_first_;
  const int64_t blocks_;
  std::unique_ptr<Scratch<C>> memory_;
  V *k_, *r_, *c_, *r_inverse_, *c_inverse_, *gu_, *gv_, *u_, *v_;
  V *a_ = nullptr, *b_ = nullptr, *parts_ = nullptr;
};
