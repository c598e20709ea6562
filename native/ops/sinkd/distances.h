// W_ij = sum over classes of |p_i - q_j| and its gradient by the student's logits, from tiles of p
// and q (kRows rows x kTile classes) that are made from the logits and stay in the cache:
//   dp_ik = sum_j G_ij sign(p_ik - q_jk),  dz = p (dp - <p, dp>)/T
// Signs are those of the bits as integers, and G are whole numbers there, up to 2^30 in a row.
// W is summed by strips of tiles, so that strips run in parallel; their number depends on the
// shape.

template <class C>
class Distances {
  using V = vector_t<C>;
  using M = typename VectorOf<C>::mask;
  using Whole = std::conditional_t<std::is_same_v<C, double>, int64_t, int32_t>;
  static constexpr int64_t L = kLanes<C>;
  static constexpr int64_t kRows = 64;
  static constexpr int64_t kTile = 512;
  static constexpr int64_t kStride = kTile + 64 / sizeof(C);  // rows start in different cache sets

 public:
  Distances(const Problem& op, const Kept& rows, const RowStats* stats)
      : op_(op),
        rows_(rows),
        stats_(stats),
        count_(static_cast<int64_t>(rows.size())),
        blocks_((count_ + kRows - 1) / kRows),
        tiles_((op.classes + kTile - 1) / kTile) {}

  void measure(double* w) const {
    const int64_t all = count_ * count_;
    const int64_t strips =
        std::clamp<int64_t>((int64_t{1} << 18) / all, 1, std::min<int64_t>(32, tiles_));
    const int64_t pairs = blocks_ * blocks_;
    const Scratch<double> sums(strips * all);
    parallel_for(strips * pairs, 1, [&](int64_t begin, int64_t end) {
      Scratch<C> p(kRows * kStride), q(kRows * kStride);
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t strip = unit / pairs, i = unit % pairs / blocks_, j = unit % blocks_;
        double* const to = sums.data() + strip * all + i * kRows * count_ + j * kRows;
        for (int64_t a = 0; a < in_block(i); ++a) std::fill_n(to + a * count_, in_block(j), 0.0);
        const int64_t last = tiles_ * (strip + 1) / strips;
        for (int64_t tile = tiles_ * strip / strips; tile < last; ++tile) {
          fill(op_.student, true, i, tile, p.data());
          fill(op_.teacher, false, j, tile, q.data());
          add_distances(p.data(), in_block(i), q.data(), in_block(j), to);
        }
      }
    });
    for (int64_t e = 0; e < all; ++e) {
      w[e] = sums[e];
      for (int64_t strip = 1; strip < strips; ++strip) w[e] += sums[strip * all + e];
    }
  }

  // g (count, count) is the gradient by W.
  void differentiate(const double* g, double scale, const View& grad) const {
    // Where dp lies until its row's <p, dp> is known: in the gradient's own memory, or for 16-bit
    // ones in scratch, a block of rows at a time.
    const bool in_place = grad.dtype == kNative<C>;
    const Scratch<C> spare(in_place ? 0 : std::min(count_, kRows) * op_.classes);
    const Scratch<Whole> whole(count_ * count_);
    const Scratch<C> unit(count_);
    for (int64_t i = 0; i < count_; ++i) unit[i] = make_whole(g + i * count_, &whole[i * count_]);
    for (int64_t block = 0; block < blocks_; ++block) {
      const auto row = [&](int64_t a) {
        return in_place ? static_cast<C*>(grad.data) + rows_[block * kRows + a] * op_.classes
                        : spare.data() + a * op_.classes;
      };
      const Scratch<double> dots(tiles_ * kRows);
      parallel_for(tiles_, 1, [&](int64_t begin, int64_t end) {
        Scratch<C> p(kRows * kStride), q(kRows * kStride);
        Scratch<Whole> sums(kRows * kStride);
        for (int64_t tile = begin; tile < end; ++tile) {
          differentiate_tile(block, tile, whole.data(), p.data(), q.data(), sums.data());
          for (int64_t a = 0; a < in_block(block); ++a)
            dots[tile * kRows + a] =
                scale_row(sums.data() + a * kStride, unit[block * kRows + a],
                          p.data() + a * kStride, in_tile(tile), row(a) + tile * kTile);
        }
      });
      parallel_for(in_block(block), std::max<int64_t>(1, 16384 / op_.classes),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t a = begin; a < end; ++a)
                       finish_row(block * kRows + a, dots.data() + a, scale, row(a), grad);
                   });
    }
  }

 private:
  int64_t in_block(int64_t block) const { return std::min(kRows, count_ - block * kRows); }
  int64_t in_tile(int64_t tile) const { return std::min(kTile, op_.classes - tile * kTile); }

  // The probabilities of some classes of a row, and zeros up to whole vectors.
  void probabilities(const View& logits, int64_t row, bool student, int64_t first, int64_t size,
                     C* to) const {
    const RowStats& s = stats_[row];
    const C top = static_cast<C>(student ? s.student_max : s.teacher_max);
    const V by = splat(static_cast<C>(1 / op_.temperature));
    const V share = splat(static_cast<C>(std::exp(student ? -s.student_log : -s.teacher_log)));
    C buffer[kTile];
    const C* z = block_of(logits, row * op_.classes + first, size, buffer);
    for (int64_t k = 0; k < size; k += L)
      store(to + k, exp_nonpositive((part(z, k, size, -kNone) - top) * by) * share);
  }
  static constexpr C kNone = std::numeric_limits<C>::infinity();

  void fill(const View& logits, bool student, int64_t block, int64_t tile, C* to) const {
    for (int64_t a = 0; a < in_block(block); ++a)
      probabilities(logits, rows_[block * kRows + a], student, tile * kTile, in_tile(tile),
                    to + a * kStride);
    // Zeros in both tiles add nothing.
    const int64_t used = (in_tile(tile) + L - 1) / L * L;
    for (int64_t a = 0; a < in_block(block); ++a)
      std::fill(to + a * kStride + used, to + a * kStride + kTile, C{0});
  }

  static V distance(V a, V b) { return abs(a - b); }

  // 2 x 4 pairs at a time.
  void add_distances(const C* p, int64_t n, const C* q, int64_t m, double* to) const {
    for (int64_t i = 0; i < n; i += 2) {
      const C* const p0 = p + i * kStride;
      const C* const p1 = i + 1 < n ? p0 + kStride : p0;
      for (int64_t j = 0; j < m; j += 4) {
        const C* rows[4];
        for (int64_t b = 0; b < 4; ++b) rows[b] = q + std::min(j + b, m - 1) * kStride;
        V s0{}, s1{}, s2{}, s3{}, t0{}, t1{}, t2{}, t3{};
        for (int64_t k = 0; k < kTile; k += L) {
          const V x = load(p0 + k), y = load(p1 + k);
          const V a = load(rows[0] + k), b = load(rows[1] + k);
          const V c = load(rows[2] + k), d = load(rows[3] + k);
          s0 += distance(x, a), s1 += distance(x, b), s2 += distance(x, c), s3 += distance(x, d);
          t0 += distance(y, a), t1 += distance(y, b), t2 += distance(y, c), t3 += distance(y, d);
        }
        const V sums[2][4] = {{s0, s1, s2, s3}, {t0, t1, t2, t3}};
        for (int64_t a = 0; a < std::min<int64_t>(2, n - i); ++a)
          for (int64_t b = 0; b < std::min<int64_t>(4, m - j); ++b)
            to[(i + a) * count_ + j + b] += reduce_add(sums[a][b]);
      }
    }
  }

  // A row of g in whole numbers; gives their unit, NaN for numbers that are none.
  C make_whole(const double* g, Whole* to) const {
    double sum = 0;
    for (int64_t j = 0; j < count_; ++j) sum += std::fabs(g[j]);
    const double most = std::is_same_v<C, double> ? 0x1p60 : 0x1p30;
    const double scale = sum > 0 && sum < 1e300 ? most / sum : 0;
    for (int64_t j = 0; j < count_; ++j)
      to[j] = scale > 0 ? static_cast<Whole>(std::llround(g[j] * scale)) : 0;
    if (scale > 0) return static_cast<C>(1 / scale);
    return sum == 0 ? C{0} : std::numeric_limits<C>::quiet_NaN();
  }

  void differentiate_tile(int64_t block, int64_t tile, const Whole* g, C* p, C* q,
                          Whole* sums) const {
    fill(op_.student, true, block, tile, p);
    std::fill_n(sums, in_block(block) * kStride, Whole{0});
    for (int64_t j = 0; j < blocks_; ++j) {
      fill(op_.teacher, false, j, tile, q);
      const Whole* own = g + block * kRows * count_ + j * kRows;
      for (int64_t a = 0; a < in_block(block); a += 2) {
        const int64_t b = std::min(a + 1, in_block(block) - 1);
        add_signs(p + a * kStride, p + b * kStride, own + a * count_, own + b * count_, q,
                  in_block(j), sums + a * kStride, sums + b * kStride);
      }
    }
  }

  static M load_bits(const C* p) { return reinterpret_cast<M>(load(p)); }
  // g, 0 or -g as d is above, at or below 0.
  static M signed_by(M d, M g) {
#ifdef SURPRISAL_TARGET_AVX2
    if constexpr (std::is_same_v<C, float>)
      return reinterpret_cast<M>(
          _mm256_sign_epi32(reinterpret_cast<__m256i>(g), reinterpret_cast<__m256i>(d)));
#endif
    return ((d > 0) & g) - ((d < 0) & g);
  }

  // sums += the sum over rows of q of g sign(p - q), for two rows of p (perhaps the same).
  static void add_signs(const C* p0, const C* p1, const Whole* g0, const Whole* g1, const C* q,
                        int64_t m, Whole* sums0, Whole* sums1) {
    for (int64_t k = 0; k < kTile; k += 2 * L) {
      const M x0 = load_bits(p0 + k), x1 = load_bits(p0 + k + L);
      const M y0 = load_bits(p1 + k), y1 = load_bits(p1 + k + L);
      M s0 = load(sums0 + k), s1 = load(sums0 + k + L);
      M t0 = load(sums1 + k), t1 = load(sums1 + k + L);
      for (int64_t j = 0; j < m; ++j) {
        const M a = load_bits(q + j * kStride + k), b = load_bits(q + j * kStride + k + L);
        const M g = splat(g0[j]), h = splat(g1[j]);
        s0 += signed_by(x0 - a, g), s1 += signed_by(x1 - b, g);
        t0 += signed_by(y0 - a, h), t1 += signed_by(y1 - b, h);
      }
      store(sums0 + k, s0), store(sums0 + k + L, s1);
      store(sums1 + k, t0), store(sums1 + k + L, t1);
    }
  }
  // dp from whole numbers, and <p, dp>.
  static double scale_row(const Whole* sums, C unit, const C* p, int64_t size, C* to) {
    V total{};
    for (int64_t k = 0; k < size; k += L) {
      const V dp = __builtin_convertvector(load(sums + k), V) * unit;
      total = fma(load(p + k), dp, total);
      if (k + L <= size) {
        store(to + k, dp);
      } else {
        for (int64_t l = 0; l < size - k; ++l) to[k + l] = dp[l];
      }
    }
    return reduce_add(total);
  }

  void finish_row(int64_t row, const double* dots, double scale, C* dp, const View& grad) const {
    double sum = 0;
    for (int64_t tile = 0; tile < tiles_; ++tile) sum += dots[tile * kRows];
    const C mean = static_cast<C>(sum), by = static_cast<C>(scale / op_.temperature);
    C p[kTile];
    for (int64_t tile = 0; tile < tiles_; ++tile) {
      const int64_t first = tile * kTile, size = in_tile(tile);
      probabilities(op_.student, rows_[row], true, first, size, p);
      for (int64_t k = 0; k < size; k += L)
        store(p + k, load(p + k) * (part(dp + first, k, size, C{0}) - mean) * by);
      store_block(grad.dtype, p, size, grad.data, rows_[row] * op_.classes + first);
    }
  }

  const Problem& op_;
  const Kept& rows_;
  const RowStats* const stats_;
  const int64_t count_, blocks_, tiles_;
};
