// The row sums and slopes of the earth mover loss over the columns of a LogitStream: panels of z
// with, one panel further, the products of the embedding with the labels' rows of it. Rows count in
// pairs of panels, of which the first holds the rows.

template <class A>
struct EmoRows {
  RowRules rules;
  int64_t classes, rows;
  const A* inverse;      // (V) one over the norm
  const int64_t* label;  // (rows), -1 for none
  const int64_t* kept;   // (rows) where a row's scale and loss are
  const double* scale;
  double* row_loss;  // may be absent
  LogitTargets<A>& targets;
};

template <class A>
class EmoTerms final : public LogitTerms<A> {
  using V = vector_t<A>;
  static constexpr int L = kLanes<A>;
  static constexpr int64_t kPanel = kTileCols<A>;
  static constexpr A kInfinity = std::numeric_limits<A>::infinity();

 public:
  explicit EmoTerms(const EmoRows<A>& rows)
      : r_(rows),
        strips_(std::min(kLogitStrips, (rows.classes + kLogitBlock - 1) / kLogitBlock)),
        max_kept_(rows.rows),
        p_kept_(rows.rows),
        q_kept_(rows.rows) {
    for (const Scratch<A>* array : {&max_kept_, &p_kept_, &q_kept_})
      std::fill_n(array->data(), rows.rows, A{0});
  }

  static int64_t row_bytes(int64_t classes) {
    const int64_t blocks = (classes + kLogitBlock - 1) / kLogitBlock;
    return (3 * std::min(kLogitStrips, blocks) + 2) * int64_t(sizeof(A));
  }
  static int64_t kept_bytes() { return 3 * int64_t(sizeof(A)) + 3 * int64_t(sizeof(int64_t)); }

  void begin(void* memory, int64_t first, int64_t rows) override {
    first_ = first;
    padded_ = rows;
    target_ = static_cast<A*>(memory);
    own_ = target_ + rows;
    strip_max_ = own_ + rows;
    strip_others_ = strip_max_ + strips_ * rows;
    strip_near_ = strip_others_ + strips_ * rows;
    std::fill_n(strip_max_, strips_ * rows, -kInfinity);
    std::fill_n(strip_others_, 2 * strips_ * rows, A{0});
    std::fill_n(target_, rows, -kInfinity);
    std::fill_n(own_, rows, A{0});
  }

  void sums(int64_t strip, int64_t row, int64_t column, int64_t columns, const A* z) override {
    for (int64_t half = 0; half < kPanel; half += L)
      half_sums(strip, row + half, column, columns, z + half);
  }

  void merge() override {
    parallel_for(padded_, 32, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        if (r_.kept[first_ + row] >= 0) finish(row);
    });
  }

  void slopes(int64_t column, int64_t row, int64_t rows, A* z, A*) override {
    const A inverse = r_.inverse[column];
    for (int64_t i = 0; i < rows; i += 2 * kPanel) {
      for (int64_t half = i; half < i + kPanel; half += L) {
        const int64_t at = first_ + row + half;
        const V p = load(p_kept_.data() + at), q = load(q_kept_.data() + at);
        const V e = exp_nonpositive(load(z + half) - load(max_kept_.data() + at));
        const V dz = e * fma(q, load(z + half + kPanel) * inverse, p);
        store(z + half, select((p == V{}) & (q == V{}), V{}, dz));
      }
    }
    r_.targets.each_row(column, [&](int64_t n) {
      const int64_t i = n - first_ - row;
      if (i >= 0 && i < rows) z[i] = 0;
    });
  }

 private:
  void half_sums(int64_t strip, int64_t row, int64_t column, int64_t columns, const A* z) {
    const A* const product = z + kLogitPanelStride<A>;
    V own[kLogitBlock];
    V m = splat(-kInfinity);
    for (int64_t i = 0; i < columns; ++i) {
      own[i] = load(z + i * kPanel);
      m = max(own[i], m);
    }
    const int64_t at = strip * padded_ + row;
    const V old = load(strip_max_ + at);
    m = max(old, m);
    const V shift = select(m == splat(-kInfinity), V{}, m);
    take_targets(row, column, columns, own, product);
    const V scale = exp(old - shift);
    V others = load(strip_others_ + at) * scale, near = load(strip_near_ + at) * scale;
    for (int64_t i = 0; i < columns; ++i) {
      const V e = exp_nonpositive(own[i] - shift);
      others = others + e;
      near = fma(e, load(product + i * kPanel) * r_.inverse[column + i], near);
    }
    store(strip_max_ + at, m);
    store(strip_others_ + at, others);
    store(strip_near_ + at, near);
  }

  // Notes z and the product of the labels among these columns and takes them out of the sums.
  void take_targets(int64_t row, int64_t column, int64_t columns, V* own, const A* product) {
    for (int64_t lane = 0; lane < L; ++lane) {
      const int64_t y = r_.label[first_ + row + lane] - column;
      if (y < 0 || y >= columns) continue;
      target_[row + lane] = own[y][lane];
      own_[row + lane] = product[y * kPanel + lane];
      own[y][lane] = -kInfinity;
    }
  }

  void finish(int64_t row) {
    const int64_t n = first_ + row, label = r_.label[n];
    const double inverse = r_.inverse[label];
    RowTotals t;
    t.max = -INFINITY;
    for (int64_t k = 0; k < strips_; ++k)
      t.max = std::max(t.max, double(strip_max_[k * padded_ + row]));
    t.target = target_[row] - t.max;
    for (int64_t k = 0; k < strips_; ++k) {
      const double scale = std::exp(strip_max_[k * padded_ + row] - t.max);
      t.others += scale * strip_others_[k * padded_ + row];
      t.near += scale * strip_near_[k * padded_ + row] * inverse;
    }
    t.own_cosine = own_[row] * inverse * inverse;
    const RowValue value = row_value(r_.rules, t);
    const double scale = r_.scale[r_.kept[n]];
    if (r_.row_loss) r_.row_loss[r_.kept[n]] = value.loss;
    max_kept_[n] = static_cast<A>(t.max);
    p_kept_[n] = static_cast<A>(value.p * scale);
    q_kept_[n] = static_cast<A>(value.q * scale * inverse);
    r_.targets.dz(n) = static_cast<A>(value.own * scale);
  }

  const EmoRows<A> r_;
  const int64_t strips_;
  const Scratch<A> max_kept_, p_kept_, q_kept_;
  int64_t first_ = 0, padded_ = 0;
  A *target_ = nullptr, *own_ = nullptr, *strip_max_ = nullptr, *strip_others_ = nullptr,
    *strip_near_ = nullptr;
};
