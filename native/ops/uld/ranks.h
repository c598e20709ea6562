// The ranks of one row's probabilities beside the other's. A bin holds values whose bits agree but
// for the last few; larger values lie in higher bins, zeros in bin 0, whose ranks are the last of
// both rows and add nothing.

template <class C>
class Ranks {
  using V = vector_t<C>;
  using M = typename VectorOf<C>::mask;
  using Bits = std::conditional_t<std::is_same_v<C, double>, int64_t, int32_t>;
  static constexpr int64_t L = kLanes<C>;
  static constexpr Bits kBins = 8192;
  static constexpr C kInfinity = std::numeric_limits<C>::infinity();

  // A bin whose own ranks in p and q overlap: elements before it, and its elements' places.
  struct Shared {
    int64_t above_p, count_p, first_p, above_q, count_q, first_q;
  };

 public:
  explicit Ranks(const Problem& op)
      : op_(op),
        p_(padded(op.student_classes)),
        q_(padded(op.teacher_classes)),
        in_p_(2 * (kBins + 1)),
        sign_(kBins + 1),
        shared_(kBins + 1),
        entries_p_(op.student_classes),
        entries_q_(op.teacher_classes) {
    in_q_ = in_p_.data() + kBins + 1;
  }

  double loss() const { return finite_ ? loss_ : std::numeric_limits<double>::quiet_NaN(); }

  void match(int64_t n) {
    C least = kInfinity, most = 0;
    finite_ = softmax(op_.student, n, op_.student_classes, p_.data(), least, most) &&
              softmax(op_.teacher, n, op_.teacher_classes, q_.data(), least, most);
    if (!finite_) return;
    base_ = bits(least);
    for (shift_ = 0; (bits(most) - base_) >> shift_ >= kBins;) ++shift_;
    used_ = ((bits(most) - base_) >> shift_) + 1;
    std::fill_n(in_p_.data(), used_ + 1, 0);
    std::fill_n(in_q_, used_ + 1, 0);
    count(p_.data(), op_.student_classes, in_p_.data());
    count(q_.data(), op_.teacher_classes, in_q_);
    judge_bins();
    mean_ = take_signs<true>(p_.data(), op_.student_classes, in_p_.data());
    loss_ = mean_ - take_signs<false>(q_.data(), op_.teacher_classes, in_q_);
    ties_ = 0;
    for (int64_t s = 0; s < shared_count_; ++s) sort_bin(shared_[s]);
  }

  // After match(n), unless the scale is 0.
  void write_gradient(int64_t n, double scale, const View& grad) {
    const int64_t classes = op_.student_classes;
    const double by = scale / op_.temperature;
    const V factor = splat(static_cast<C>(finite_ ? by : std::numeric_limits<double>::quiet_NaN()));
    const V mean = splat(static_cast<C>(mean_));
    C block[kBlock];
    for (int64_t at = 0; at < classes; at += kBlock) {
      const int64_t size = std::min(kBlock, classes - at);
      for (int64_t k = 0; k < size; k += L) {
        const V x = load(p_.data() + at + k);
        store(block + k, scale == 0 ? V{} : (x - absolute(x) * mean) * factor);
      }
      store_block(grad.dtype, block, size, grad.data, n * classes + at);
    }
    for (int64_t t = 0; scale != 0 && finite_ && t < ties_; ++t) {
      const Entry<C> tie = entries_p_[t];
      const C dz = static_cast<C>(-tie.value * mean_ * by);
      store_block(grad.dtype, &dz, 1, grad.data, n * classes + tie.index);
    }
  }

 private:
  static int64_t padded(int64_t n) { return (n + L - 1) / L * L; }
  static Bits bits(C x) {
    Bits b;
    std::memcpy(&b, &x, sizeof b);
    return b;
  }
  static V absolute(V x) {
    return reinterpret_cast<V>(reinterpret_cast<M>(x) &
                               ~reinterpret_cast<M>(splat(static_cast<C>(-0.0))));
  }
  Bits bin(C x) const { return x > 0 ? ((bits(x) - base_) >> shift_) + 1 : 0; }
  // Of the vector's elements, none of them below 0.
  M bins(V x) const {
    const M above = (reinterpret_cast<M>(x) - base_) >> shift_;
    return (above + 1) & (x > V{});
  }

  // False for a row without a distribution. Zeros up to whole vectors; the extremes that are not 0.
  bool softmax(const View& logits, int64_t n, int64_t classes, C* to, C& least, C& most) const {
    const double top = row_max<C>(logits, n * classes, classes);
    if (!(std::fabs(top) < std::numeric_limits<double>::infinity())) return false;
    const V by = splat(static_cast<C>(1 / op_.temperature)), max = splat(static_cast<C>(top));
    const V none = splat(kInfinity);
    C buffer[kBlock];
    double total = 0;
    V low = none;
    for (int64_t at = 0; at < classes; at += kBlock) {
      const int64_t size = std::min(kBlock, classes - at);
      const C* x = block_of(logits, n * classes + at, size, buffer);
      V sum{};
      for (int64_t k = 0; k < size; k += L) {
        const V e = exp_nonpositive((part(x, k, size, -kInfinity) - max) * by);
        store(to + at + k, e);
        sum += e;
        low = min(low, select(e > V{}, e, none));
      }
      total += reduce_add(sum);
    }
    if (!(total > 0)) return false;  // NaN
    const C share = static_cast<C>(1 / total);
    for (int64_t k = 0; k < classes; k += L) store(to + k, load(to + k) * share);
    for (int k = 0; k < L; ++k) {
      if (low[k] == kInfinity) continue;
      // What underflowed may have neighbours that did not.
      least = std::min(least, std::max(low[k] * share, std::numeric_limits<C>::denorm_min()));
    }
    most = share > most ? share : most;
    return true;
  }

  void count(const C* x, int64_t size, int32_t* in) const {
    Bits at[4 * L] = {};
    for (int64_t k = 0; k < size; k += 4 * L) {
      const int64_t vectors = std::min<int64_t>(4, (size - k + L - 1) / L);
      for (int64_t v = 0; v < vectors; ++v) {
        const M b = bins(load(x + k + v * L));
        std::memcpy(at + v * L, &b, sizeof b);
      }
#pragma GCC unroll 16
      for (int64_t l = 0; l < vectors * L; ++l) ++in[at[l]];
    }
  }

  // The sign of each bin, 0 for those to be sorted within, whose counts become places.
  void judge_bins() {
    int64_t above_p = 0, above_q = 0, first_p = 0, first_q = 0;
    shared_count_ = 0;
    sign_[0] = 0;
    for (Bits b = used_; b > 0; --b) {
      const int64_t n = in_p_[b], m = in_q_[b];
      if ((n | m) == 0) continue;
      if (above_p + n <= above_q) {
        sign_[b] = -1;
      } else if (above_p >= above_q + m) {
        sign_[b] = 1;
      } else {
        sign_[b] = 0;
        shared_[shared_count_++] = {above_p, n, first_p, above_q, m, first_q};
        in_p_[b] = static_cast<int32_t>(first_p);
        in_q_[b] = static_cast<int32_t>(first_q);
        first_p += n;
        first_q += m;
      }
      above_p += n;
      above_q += m;
    }
  }

  V signs(M b) const {
    if constexpr (std::is_same_v<C, float>) {
      return gather(sign_.data(), b);
    } else {
      V s{};
      for (int l = 0; l < L; ++l) s[l] = sign_[b[l]];
      return s;
    }
  }

  // The sum of the signs times the elements; elements of p take their sign, those of bins to be
  // sorted within go to their places.
  template <bool is_p>
  double take_signs(C* x, int64_t size, int32_t* place) {
    double total = 0;
    for (int64_t at = 0; at < size; at += kBlock) {
      V sum{};
      for (int64_t k = at; k < std::min(size, at + kBlock); k += L) {
        const V value = load(x + k);
        const V s = signs(bins(value));
        const V own = s * value;
        sum += own;
        const M open = (s == V{}) & (value > V{});
        if (is_p) store(x + k, select(s == V{}, value, own));
        if (any(open)) put_apart<is_p>(value, open, k, place);
      }
      total += reduce_add(sum);
    }
    return total;
  }
  template <bool is_p>
  void put_apart(V value, M open, int64_t k, int32_t* place) {
    for (int l = 0; l < L; ++l) {
      if (!open[l]) continue;
      const int32_t to = place[bin(value[l])]++;
      if (is_p) {
        entries_p_[to] = {value[l], static_cast<int32_t>(k + l)};
      } else {
        entries_q_[to] = value[l];
      }
    }
  }

  void sort_bin(const Shared& bin) {
    Entry<C>* const p = entries_p_.data() + bin.first_p;
    C* const q = entries_q_.data() + bin.first_q;
    sort_descending(p, bin.count_p);
    sort_descending(q, bin.count_q);
    // Elements of a bin between those of the other row that are above it and below it.
    for (int64_t k = 0; k < bin.count_p; ++k) {
      const int64_t other = bin.above_p + k - bin.above_q;
      const int s = other < 0              ? -1
                    : other >= bin.count_q ? 1
                                           : (p[k].value > q[other]) - (p[k].value < q[other]);
      mean_ += s * double(p[k].value);
      loss_ += s * double(p[k].value);
      if (s < 0) p_[p[k].index] = -p[k].value;
    }
    for (int64_t k = 0; k < bin.count_q; ++k) {
      const int64_t other = bin.above_q + k - bin.above_p;
      const int s = other < 0              ? 1
                    : other >= bin.count_p ? -1
                                           : (p[other].value > q[k]) - (p[other].value < q[k]);
      loss_ -= s * double(q[k]);
    }
    // Ties go to the front of the entries, whose places before this bin's are not needed any more.
    for (int64_t k = 0; k < bin.count_p; ++k) {
      const int64_t other = bin.above_p + k - bin.above_q;
      const bool tie = other >= 0 && other < bin.count_q && p[k].value == q[other];
      if (tie) entries_p_[ties_++] = p[k];
    }
  }

  const Problem& op_;
  const Scratch<C> p_, q_;
  const Scratch<int32_t> in_p_;
  int32_t* in_q_;
  const Scratch<C> sign_;
  const Scratch<Shared> shared_;
  const Scratch<Entry<C>> entries_p_;
  const Scratch<C> entries_q_;
  Bits base_ = 0, used_ = 0;
  int shift_ = 0;
  int64_t shared_count_ = 0, ties_ = 0;
  double mean_ = 0, loss_ = 0;  // mean: <p, dp>
  bool finite_ = false;
};
