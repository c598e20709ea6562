// Z, of which costs are made: C_ij = shift_i + shift_j - Z_ij with Z = x·y and shifts of half the
// squared norms, Z = -|x-y|, Z = cos and shifts of 1/2, or C_ij = Z_ij for a given cost. What
// is additive in i and j goes into the potentials. Z is held where the workspace allows, else made
// anew by tiles; its bits are the same. Included inside a target's namespace.

constexpr int64_t kRowBlock = 24;  // rows of one task: tiles of 6, groups of 4
constexpr int64_t kColumnTile = 256;
// Of the diagonal of a measure and itself: whole tiles both ways.
constexpr int64_t kSquare = SURPRISAL_TARGET_BYTES > 32 ? 96 : 48;

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Accumulators of A are made of these; float64 of narrower ones too.
template <class A, class T>
constexpr bool holds() {
  return std::is_same_v<accumulator_t<T>, A> || std::is_same_v<A, double>;
}

template <class A, class T>
void widen_to(const T* from, int64_t count, A* to) {
  if constexpr (std::is_same_v<accumulator_t<T>, A>) {
    widen(from, count, to);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<A>(to_float(from[i]));
  }
}

// One side's points: centred, in both layouts of the product.
template <class A>
class Cloud {
 public:
  Cloud(const Problem& op, const Measure& measure, const double* centre)
      : measure(measure),
        n(measure.n),
        depth(op.width),
        rows_((n + kOver) * depth),
        panels_(round_up(n, kTileCols<A>) * depth),
        shift(n) {
    const Cost kind = static_cast<Cost>(op.kind);
    std::fill_n(rows_.data() + n * depth, kOver * depth, A{0});
    visit_float(measure.points.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      if constexpr (holds<A, T>()) read(static_cast<const T*>(measure.points.data), kind, centre);
    });
    pack_transposed(rows_.data(), depth, n, depth, panels_.data());
  }

  const Measure& measure;
  const int64_t n, depth;
  const A* row(int64_t i) const { return rows_.data() + i * depth; }
  const A* panel(int64_t j) const { return panels_.data() + j * depth; }  // j a multiple of 16

 private:
  static constexpr int64_t kOver = 12;  // rows that tiles from any multiple of 8 on may read
  Scratch<A> rows_, panels_;

 public:
  Scratch<double> shift;

 private:
  template <class T>
  void read(const T* points, Cost kind, const double* centre) {
    parallel_for(n, 1024, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* from = points + (measure.start + i) * depth;
        A* to = rows_.data() + i * depth;
        double square = 0;
        for (int64_t k = 0; k < depth; ++k) {
          const double v = static_cast<double>(plain(from[k])) - (centre ? centre[k] : 0);
          to[k] = static_cast<A>(v);
          square += kind == Cost::cosine ? v * v : static_cast<double>(to[k]) * to[k];
        }
        shift[i] = kind == Cost::half_square ? square / 2 : kind == Cost::cosine ? 0.5 : 0;
        if (kind != Cost::cosine) continue;
        const double inverse = square > 0 ? 1 / std::sqrt(square) : 0;
        for (int64_t k = 0; k < depth; ++k) to[k] = static_cast<A>(plain(from[k]) * inverse);
      }
    });
  }
  static double plain(double v) { return v; }
  template <class T>
  static double plain(T v) {
    return to_float(v);
  }
};

// -sqrt(max(|x-y|^2, floor)) of 6 rows and a panel.
template <class A>
__attribute__((noinline)) void distance_tile(int64_t depth, const A* a, const A* b, A floor, A* c,
                                             int64_t ldc) {
  using V = vector_t<A>;
  constexpr int L = kLanes<A>;
  for (int r = 0; r < kTileRows; r += 2) {
    const A *x = a + r * depth, *y = x + depth, *panel = b;
    V p{}, q{}, s{}, t{};
    for (int64_t k = 0; k < depth; ++k, panel += 2 * L) {
      const V left = load(panel), right = load(panel + L);
      const V xk = splat(x[k]), yk = splat(y[k]);
      p = fma(xk - left, xk - left, p);
      q = fma(xk - right, xk - right, q);
      s = fma(yk - left, yk - left, s);
      t = fma(yk - right, yk - right, t);
    }
    A* to = c + r * ldc;
    store(to, -sqrt(max(p, splat(floor))));
    store(to + L, -sqrt(max(q, splat(floor))));
    store(to + ldc, -sqrt(max(s, splat(floor))));
    store(to + ldc + L, -sqrt(max(t, splat(floor))));
  }
}

template <class A>
class Scores {
 public:
  // Of two clouds. `label_cost` (V, V) is what their labels add to C. `triangle`: only that is
  // held.
  Scores(const Problem& op, const Cloud<A>& x, const Cloud<A>& y, const A* label_cost,
         bool triangle = false)
      : rows(x.n),
        columns(y.n),
        kind(static_cast<Cost>(op.kind)),
        row_shift_(x.shift.data()),
        column_shift_(y.shift.data()),
        x_(&x),
        y_(&y),
        label_cost_(label_cost),
        labels_(op.labels),
        triangle_(triangle),
        floor_(op.geomloss ? A(1e-8) : A(0)) {}
  // Of a given cost, or of its transpose.
  Scores(const Problem& op, const Instance& one, bool transposed)
      : rows(transposed ? one.y.n : one.x.n),
        columns(transposed ? one.x.n : one.y.n),
        kind(Cost::matrix),
        cost_(op.cost),
        cost_start_(one.index * one.x.n * one.y.n),
        cost_ld_(one.y.n),
        transposed_(transposed) {
    if (op.cost.dtype == DTypeOf<A>::value && !transposed && columns % kTileCols<A> == 0) {
      held_ = static_cast<const A*>(op.cost.data) + cost_start_;
      ld_ = columns;
    }
  }

  const int64_t rows, columns;
  const Cost kind;
  int64_t padded() const { return round_up(columns, kTileCols<A>); }
  // 1 where Z is a similarity, -1 where it is the cost.
  A sign() const { return kind == Cost::matrix ? A(-1) : A(1); }
  // C_ij = row_shift + column_shift - sign Z
  double row_shift(int64_t i) const { return row_shift_ ? row_shift_[i] : 0; }
  double column_shift(int64_t j) const { return column_shift_ ? column_shift_[j] : 0; }
  // D where products of the points are cheaper than reading what is held, else 0.
  int64_t few_dimensions() const {
    return kind == Cost::half_square && !label_cost_ && x_->depth <= 3 ? x_->depth : 0;
  }
  // Whether tiles are made anew by products of many dimensions.
  bool is_streamed() const { return !held_ && !few_dimensions(); }
  const Cloud<A>& x() const { return *x_; }
  const Cloud<A>& y() const { return *y_; }

  // Computes Z once, if `bytes` suffice.
  void hold(int64_t bytes) {
    if (held_ || few_dimensions() ||
        round_up(rows, kTileRows) * padded() * int64_t(sizeof(A)) > bytes)
      return;
    ld_ = padded();
    own_.reset(new Scratch<A>(round_up(rows, kTileRows) * ld_));
    parallel_for((rows + kRowBlock - 1) / kRowBlock, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * kRowBlock; i < std::min(end * kRowBlock, rows); i += kRowBlock)
        for (int64_t j = first_held(i); j < ld_; j += kColumnTile)
          fill(i, std::min(kRowBlock, rows - i), j, std::min(kColumnTile, ld_ - j),
               own_->data() + i * ld_ + j, ld_);
    });
    held_ = own_->data();
  }

  struct Tile {
    const A* z;
    int64_t ld;
  };
  // Rows [i, i + count), count <= kRowBlock, i a multiple of 6; columns [j, j + width), multiples
  // of 16, width <= kColumnTile, zeros beyond the last one. `buffer` holds kRowBlock x kColumnTile.
  Tile tile(int64_t i, int64_t count, int64_t j, int64_t width, A* buffer) const {
    if (held_ && j >= first_held(i)) return {held_ + i * ld_ + j, ld_};
    fill(i, count, j, width, buffer, kColumnTile);
    return {buffer, kColumnTile};
  }
  // -|x-y| of a tile `z`, without what labels add.
  Tile distances(int64_t i, int64_t count, int64_t j, int64_t width, Tile z, A* buffer) const {
    if (!label_cost_) return z;
    fill_products(i, count, j, width, buffer, kColumnTile);
    return {buffer, kColumnTile};
  }

 private:
  // Sweeps of a measure and itself read no more.
  int64_t first_held(int64_t i) const { return triangle_ ? i / kSquare * kSquare : 0; }

  void fill(int64_t i, int64_t count, int64_t j, int64_t width, A* to, int64_t ld) const {
    if (kind == Cost::matrix) return fill_given(i, count, j, width, to, ld);
    fill_products(i, count, j, width, to, ld);
    if (label_cost_) add_labels(i, count, j, std::min(width, columns - j), to, ld);
  }

  void fill_products(int64_t i, int64_t count, int64_t j, int64_t width, A* to, int64_t ld) const {
    const int64_t depth = x_->depth, part = depth_part(depth);
    for (int64_t c = 0; c < width; c += kTileCols<A>) {
      const A* panel = y_->panel(j + c);
      for (int64_t r = 0; r < count; r += kTileRows) {
        A* out = to + r * ld + c;
        const A* row = x_->row(i + r);
        if (kind == Cost::distance) {
          distance_tile(depth, row, panel, floor_, out, ld);
          continue;
        }
        multiply_tile<false, Start::zero>(std::min(part, depth), row, depth, panel, out, ld);
        for (int64_t k = part; k < depth; k += part)
          multiply_tile<false, Start::chain>(std::min(part, depth - k), row + k, depth,
                                             panel + k * kTileCols<A>, out, ld);
      }
    }
  }

  void add_labels(int64_t i, int64_t count, int64_t j, int64_t width, A* to, int64_t ld) const {
    const int32_t* label = y_->measure.label + j;
    for (int64_t r = 0; r < count; ++r, to += ld) {
      const A* cost = label_cost_ + x_->measure.label[i + r] * labels_;
      for (int64_t c = 0; c < width; ++c) to[c] -= cost[label[c]];
    }
  }

  void fill_given(int64_t i, int64_t count, int64_t j, int64_t width, A* to, int64_t ld) const {
    const int64_t real = std::max<int64_t>(0, std::min(width, columns - j));
    visit_float(cost_.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      if constexpr (holds<A, T>()) {
        const T* from = static_cast<const T*>(cost_.data) + cost_start_;
        for (int64_t r = 0; r < count; ++r, to += ld) {
          if (transposed_) {
            for (int64_t c = 0; c < real; ++c)
              widen_to(from + (j + c) * cost_ld_ + i + r, 1, to + c);
          } else {
            widen_to(from + (i + r) * cost_ld_ + j, real, to);
          }
          std::fill(to + real, to + width, A{0});
        }
      }
    });
  }

  const double *row_shift_ = nullptr, *column_shift_ = nullptr;
  const Cloud<A>*x_ = nullptr, *y_ = nullptr;
  const A* label_cost_ = nullptr;
  int64_t labels_ = 0;
  bool triangle_ = false;
  A floor_ = 0;
  View cost_;
  int64_t cost_start_ = 0, cost_ld_ = 0;
  bool transposed_ = false;
  std::unique_ptr<Scratch<A>> own_;
  const A* held_ = nullptr;
  int64_t ld_ = 0;
};
