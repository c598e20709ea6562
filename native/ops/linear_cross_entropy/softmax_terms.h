// Softmax over the columns of a LogitStream: sums without the target, and slopes from the row
// coefficients that RowFinish makes of them. Included inside a target's namespace.

template <class A>
struct SoftmaxOptions {
  int64_t n = 0, classes = 0;
  const A* bias = nullptr;             // (V)
  const A* class_weight = nullptr;     // (V)
  const int64_t* target = nullptr;     // (n), -1 for none among these columns
  LogitTargets<A>* targets = nullptr;  // of a gradient
  LogitMap map;
  Extra extra = Extra::none;
  bool smooth = false;      // coefficients have w
  bool own_from_z = false;  // see RowCoefficients
};

template <class A>
class SoftmaxTerms final : public LogitTerms<A> {
  using V = vector_t<A>;
  static constexpr int L = kLanes<A>;
  static constexpr int64_t kPanel = kTileCols<A>;
  static constexpr A kInfinity = std::numeric_limits<A>::infinity();

 public:
  SoftmaxTerms(const SoftmaxOptions<A>& options, RowState* states, RowFinish& rows)
      : o_(options), map_(options.map), states_(states), rows_(rows) {
    const int64_t blocks = (o_.classes + kLogitBlock - 1) / kLogitBlock;
    strips_ = std::min(kLogitStrips, blocks);
    plain_ = !o_.bias && o_.map.identity();
    if (o_.extra != Extra::below) return;
    weight_before_.reset(new Scratch<double>(blocks + 1));
    double sum = 0;
    for (int64_t c = 0; c < o_.classes; ++c) {
      if (c % kLogitBlock == 0) (*weight_before_)[c / kLogitBlock] = sum;
      sum += o_.class_weight ? o_.class_weight[c] : 1;
    }
    (*weight_before_)[blocks] = sum;
  }

  static int64_t row_bytes(int64_t classes) {
    const int64_t blocks = (classes + kLogitBlock - 1) / kLogitBlock;
    return (3 * std::min(kLogitStrips, blocks) + 7) * int64_t(sizeof(A));
  }

  void begin(void* memory, int64_t first, int64_t rows) override {
    first_ = first;
    padded_ = rows;
    count_ = std::min(rows, o_.n - first);
    A* at = static_cast<A*>(memory);
    for (A** array : {&target_, &max_, &p_, &q_, &w_, &own_, &inverse_}) {
      *array = at;
      at += rows;
    }
    strip_max_ = at;
    strip_others_ = at + strips_ * rows;
    strip_extra_ = at + 2 * strips_ * rows;
    std::fill_n(strip_max_, strips_ * rows, -kInfinity);
    std::fill_n(strip_others_, 2 * strips_ * rows, A{0});
    std::fill_n(target_, rows, -kInfinity);
  }

  void sums(int64_t strip, int64_t row, int64_t column, int64_t columns, const A* z) override {
    for (int64_t half = 0; half < kPanel; half += L)
      half_sums(strip, row + half, column, columns, z + half);
  }

  void merge() override {
    parallel_for(count_, 16, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        states_[first_ + row] = merged(row);
        rows_.finish(first_ + row, states_[first_ + row]);
      }
    });
  }

  void prepare() override {
    parallel_for(padded_, 16, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        RowCoefficients c;
        if (row < count_) c = rows_.slope(first_ + row, states_[first_ + row]);
        max_[row] = static_cast<A>(c.max);
        p_[row] = static_cast<A>(c.p);
        q_[row] = static_cast<A>(c.q);
        w_[row] = static_cast<A>(c.w);
        own_[row] = static_cast<A>(c.own);
        // Of rows that move nothing, every block may be skipped.
        const bool live = c.p != 0 || c.q != 0 || c.w != 0;
        const RowState* state = states_ + first_ + row;
        inverse_[row] = live ? static_cast<A>(1 / (state->others + std::exp(state->target))) : A{0};
      }
    });
  }

  void slopes(int64_t column, int64_t row, int64_t rows, A* z, A* peak) override {
    // Calls f(dz, its place in z) for each target among these rows.
    const auto each_target = [&](auto&& f) {
      o_.targets->each_row(column, [&](int64_t n) {
        const int64_t i = n - first_ - row;
        if (i >= 0 && i < rows) f(o_.targets->dz(n), i);
      });
    };
    const A bias = o_.bias ? o_.bias[column] : 0;
    if (peak) {
      each_target([&](A& dz, int64_t i) { dz = peak[i]; });
      keep_peak(row, rows, bias, z, peak);
      each_target([&](A& dz, int64_t i) { peak[i] = dz; });
    }
    each_target([&](A& dz, int64_t i) { dz = own_slope(row + i, z[i] + bias); });
    if (o_.extra == Extra::entropy || o_.smooth) {
      slopes_of<true>(column, row, rows, bias, z);
    } else {
      slopes_of<false>(column, row, rows, bias, z);
    }
    each_target([&](A&, int64_t i) { z[i] = 0; });
  }

 private:
  void half_sums(int64_t strip, int64_t row, int64_t column, int64_t columns, const A* z) {
    V mapped[kLogitBlock];
    V m = splat(-kInfinity);
    for (int64_t i = 0; i < columns; ++i) {
      V x = load(z + i * kPanel);
      if (!plain_) x = map_.value(o_.bias ? x + o_.bias[column + i] : x);
      mapped[i] = x;
      m = max(x, m);
    }
    const int64_t at = strip * padded_ + row;
    const V old = load(strip_max_ + at);
    m = max(old, m);
    const V none = splat(-kInfinity);
    const V shift = select(m == none, V{}, m);
    if (o_.extra == Extra::below || o_.extra == Extra::total)
      linear_extra(strip, at, column, columns, mapped, old, shift);
    take_targets(row, column, columns, mapped);
    V others = load(strip_others_ + at);
    const V scale = exp(old - shift);
    if (o_.extra == Extra::entropy) {
      V extra = load(strip_extra_ + at);
      extra = select(old == none, V{}, scale * (extra + (old - shift) * others));
      others = others * scale;
      for (int64_t i = 0; i < columns; ++i) {
        const V e = exp_nonpositive(mapped[i] - shift);
        others = others + e;
        extra = extra + select(e == V{}, V{}, e * (mapped[i] - shift));
      }
      store(strip_extra_ + at, extra);
    } else {
      others = others * scale;
      for (int64_t i = 0; i < columns; ++i) others = others + exp_nonpositive(mapped[i] - shift);
    }
    store(strip_max_ + at, m);
    store(strip_others_ + at, others);
  }

  void linear_extra(int64_t strip, int64_t at, int64_t column, int64_t columns, const V* z, V old,
                    V shift) {
    V extra = load(strip_extra_ + at);
    if (o_.extra == Extra::total) {
      for (int64_t i = 0; i < columns; ++i) extra = extra + z[i];
    } else {
      const A before = static_cast<A>(weight_in(strip, column / kLogitBlock));
      extra = select(old == splat(-kInfinity), extra, extra + (shift - old) * before);
      for (int64_t i = 0; i < columns; ++i) {
        const A w = o_.class_weight ? o_.class_weight[column + i] : 1;
        if (w != 0) extra = extra + (shift - z[i]) * w;
      }
    }
    store(strip_extra_ + at, extra);
  }

  int64_t strip_begin(int64_t strip) const {
    return (o_.classes + kLogitBlock - 1) / kLogitBlock * strip / strips_;
  }
  // Class weights of the strip's blocks before `block`.
  double weight_in(int64_t strip, int64_t block) const {
    return (*weight_before_)[block] - (*weight_before_)[strip_begin(strip)];
  }

  // Notes z of the targets among these columns and takes them out of the sum that follows.
  void take_targets(int64_t row, int64_t column, int64_t columns, V* mapped) {
    for (int64_t lane = 0; lane < L && row + lane < count_; ++lane) {
      const int64_t y = o_.target[first_ + row + lane] - column;
      if (y < 0 || y >= columns) continue;
      target_[row + lane] = mapped[y][lane];
      mapped[y][lane] = -kInfinity;
    }
  }

  RowState merged(int64_t row) const {
    RowState s{-INFINITY, 0, 0, 0};
    for (int64_t k = 0; k < strips_; ++k)
      s.max = std::max(s.max, double(strip_max_[k * padded_ + row]));
    s.target = target_[row] - s.max;
    for (int64_t k = 0; k < strips_; ++k) {
      const double shift = strip_max_[k * padded_ + row] - s.max;
      const double scale = std::exp(shift);
      const double others = strip_others_[k * padded_ + row],
                   extra = strip_extra_[k * padded_ + row];
      s.others += others * scale;
      if (o_.extra == Extra::total) s.extra += extra;
      if (o_.extra == Extra::entropy && scale != 0) s.extra += scale * (extra + shift * others);
      if (o_.extra == Extra::below) {
        const double w = weight_in(k, strip_begin(k + 1));
        s.extra += extra + (w == 0 ? 0 : -shift * w);
      }
    }
    const double own = std::exp(s.target);
    if (o_.extra == Extra::entropy && own != 0) s.extra += own * s.target;
    return s;
  }

  void keep_peak(int64_t row, int64_t rows, A bias, const A* z, A* peak) const {
    for (int64_t i = 0; i < rows; i += L) {
      const V x = load(z + i) + bias;
      const V e = exp((plain_ ? x : map_.value(x)) - load(max_ + row + i));
      const V inverse = load(inverse_ + row + i), old = load(peak + i);
      const V p = select(inverse == V{}, V{}, e * inverse);
      store(peak + i, select(p <= old, old, p));
    }
  }

  A own_slope(int64_t r, A x) const {
    const A slope = static_cast<A>(map_slope(o_.map, x));
    if (!o_.own_from_z) return own_[r] * slope;
    return p_[r] * static_cast<A>(std::expm1(map_logit(o_.map, x) - max_[r])) * slope;
  }

  template <bool general>
  void slopes_of(int64_t column, int64_t row, int64_t rows, A bias, A* z) const {
    const A weight = o_.class_weight ? o_.class_weight[column] : 1;
    for (int64_t i = 0; i < rows; i += L) {
      const V x = load(z + i) + bias;
      const V shifted = (plain_ ? x : map_.value(x)) - load(max_ + row + i);
      const V e = exp_nonpositive(shifted);
      const V p = load(p_ + row + i);
      V dz = e * p;
      auto dead = p == V{};
      if constexpr (general) {
        const V q = load(q_ + row + i), w = load(w_ + row + i);
        dz = select(e == V{}, V{}, dz + e * (q * shifted)) - w * weight;
        // A logit of -inf moves nothing, whatever smoothing asks of it.
        dz = select(shifted == splat(-kInfinity), V{}, dz);
        dead = dead & (q == V{}) & (w == V{});
      }
      if (!plain_) dz = dz * map_.slope(x);
      store(z + i, select(dead, V{}, dz));
    }
  }

  const SoftmaxOptions<A> o_;
  const VectorMap<A> map_;
  RowState* const states_;
  RowFinish& rows_;
  std::unique_ptr<Scratch<double>> weight_before_;
  int64_t strips_, first_ = 0, padded_ = 0, count_ = 0;
  bool plain_;
  A *target_ = nullptr, *max_ = nullptr, *p_ = nullptr, *q_ = nullptr, *w_ = nullptr,
    *own_ = nullptr, *inverse_ = nullptr;
  A *strip_max_ = nullptr, *strip_others_ = nullptr, *strip_extra_ = nullptr;
};

// The first class of the largest logit; NaN is never the largest.
template <class A>
class ArgmaxTerms final : public LogitTerms<A> {
  static constexpr int64_t kPanel = kTileCols<A>;

 public:
  ArgmaxTerms(const SoftmaxOptions<A>& options, int32_t* out)
      : o_(options), map_(options.map), out_(out) {
    strips_ = std::min(kLogitStrips, (o_.classes + kLogitBlock - 1) / kLogitBlock);
  }
  static int64_t row_bytes() { return kLogitStrips * int64_t(sizeof(A) + sizeof(int32_t)); }

  void begin(void* memory, int64_t first, int64_t rows) override {
    first_ = first;
    padded_ = rows;
    best_ = static_cast<A*>(memory);
    where_ = reinterpret_cast<int32_t*>(best_ + strips_ * rows);
    std::fill_n(best_, strips_ * rows, -std::numeric_limits<A>::infinity());
    std::fill_n(where_, strips_ * rows, 0);
  }

  void sums(int64_t strip, int64_t row, int64_t column, int64_t columns, const A* z) override {
    A* best = best_ + strip * padded_ + row;
    int32_t* where = where_ + strip * padded_ + row;
    const bool plain = !o_.bias && o_.map.identity();
    for (int64_t i = 0; i < columns; ++i, z += kPanel) {
      const A bias = o_.bias ? o_.bias[column + i] : 0;
      for (int64_t lane = 0; lane < kPanel; lane += kLanes<A>) {
        auto x = load(z + lane);
        if (!plain) x = map_.value(x + bias);
        const auto greater = x > load(best + lane);
        if (!any(greater)) continue;
        for (int k = 0; k < kLanes<A>; ++k) {
          if (!greater[k]) continue;
          best[lane + k] = x[k];
          where[lane + k] = static_cast<int32_t>(column + i);
        }
      }
    }
  }

  void merge() override {
    for (int64_t row = 0; row < padded_ && first_ + row < o_.n; ++row) {
      A best = best_[row];
      int32_t where = where_[row];
      for (int64_t k = 1; k < strips_; ++k) {
        if (!(best_[k * padded_ + row] > best)) continue;
        best = best_[k * padded_ + row];
        where = where_[k * padded_ + row];
      }
      out_[first_ + row] = where;
    }
  }

 private:
  const SoftmaxOptions<A> o_;
  const VectorMap<A> map_;
  int32_t* const out_;
  int64_t strips_, first_ = 0, padded_ = 0;
  A* best_ = nullptr;
  int32_t* where_ = nullptr;
};
