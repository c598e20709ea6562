// The half steps: softmins of a side's potential at every point of the other. With the scores in
// units of log 2, for each row i: s_i = sum over j of 2^(k Z_ij + guess_i + other_j), where
// guess_i is the row's potential, so that s_i is near 1, no maximum is needed and s_i - 1 is the
// error of the row's marginal; rows whose sum leaves the range (or has no guess) are done again
// from their maximum. The softmin is guess_i - log2 s_i. Rows are passed over in blocks, columns
// too: no two tasks add to one sum. Included inside a target's namespace.

// A weight of 0: its power of two is 0.
template <class A>
constexpr A kNothing = A(-1e30);

// Softmins of the rows, in `to` (rows), in log2 units.
template <class A>
class RowPass {
 public:
  RowPass(const Scores<A>& z, A k, const A* guess, const A* other)
      : z_(z), k_(k), guess_(guess), other_(other) {}

  // finish(i, softmin) for each row.
  template <class F>
  void run(F&& finish) const {
    parallel_for((z_.rows + kRowBlock - 1) / kRowBlock, 1, [&](int64_t begin, int64_t end) {
      alignas(64) A buffer[kRowBlock * kColumnTile];
      double softmin[kRowBlock];
      for (int64_t i = begin * kRowBlock; i < std::min(end * kRowBlock, z_.rows); i += kRowBlock) {
        const int64_t count = std::min(kRowBlock, z_.rows - i);
        block(i, count, buffer, softmin);
        for (int64_t r = 0; r < count; ++r) finish(i + r, softmin[r]);
      }
    });
  }
  void block(int64_t i, int64_t count, A* buffer, double* softmin) const {
    double sum[kRowBlock];
    bool fine = true;
    sums(i, count, guess_ + i, buffer, sum);
    for (int64_t r = 0; r < count; ++r) {
      fine = fine && in_range<A>(sum[r]);
      softmin[r] = guess_[i + r] - std::log2(sum[r]);
    }
    if (fine) return;
    A top[kRowBlock];
    std::fill_n(top, kRowBlock, std::numeric_limits<A>::lowest());
    each_tile(i, count, buffer, [&](Tile<A> t, int64_t j, int64_t width) {
      max_rows<A>(t, count, width, k_ * z_.sign(), other_ + j, top);
    });
    for (int64_t r = 0; r < count; ++r) top[r] = -top[r];
    double again[kRowBlock];
    sums(i, count, top, buffer, again);
    for (int64_t r = 0; r < count; ++r)
      if (!in_range<A>(sum[r])) softmin[r] = top[r] - std::log2(again[r]);
  }

 private:
  void sums(int64_t i, int64_t count, const A* guess, A* buffer, double* sum) const {
    std::fill_n(sum, count, 0.0);
    each_tile(i, count, buffer, [&](Tile<A> t, int64_t j, int64_t width) {
      sum_rows<A>(t, count, width, k_ * z_.sign(), guess, other_ + j, sum);
    });
  }
  template <class F>
  void each_tile(int64_t i, int64_t count, A* buffer, F&& f) const {
    for (int64_t j = 0; j < z_.padded(); j += kColumnTile) {
      const int64_t width = std::min(kColumnTile, z_.padded() - j);
      f(z_.tile(i, count, j, width, buffer), j, width);
    }
  }

  const Scores<A>& z_;
  const A k_;
  const A *guess_, *other_;
};

// The same of the columns.
template <class A>
class ColumnPass {
 public:
  ColumnPass(const Scores<A>& z, A k, const A* guess, const A* other)
      : z_(z), k_(k), guess_(guess), other_(other) {}

  template <class F>
  void run(F&& finish) const {
    // Narrow enough for many tasks; no sum depends on it.
    const int64_t strip = z_.columns >= 4096 ? 256 : z_.columns >= 1024 ? 128 : 64;
    parallel_for((z_.padded() + strip - 1) / strip, 1, [&](int64_t begin, int64_t end) {
      alignas(64) A buffer[kRowBlock * kColumnTile];
      double softmin[kColumnTile];
      for (int64_t j = begin * strip; j < std::min(end * strip, z_.padded()); j += strip) {
        const int64_t width = std::min(strip, z_.padded() - j);
        block(j, width, buffer, softmin);
        for (int64_t c = 0; c < std::min(width, z_.columns - j); ++c) finish(j + c, softmin[c]);
      }
    });
  }

 private:
  void block(int64_t j, int64_t width, A* buffer, double* softmin) const {
    const int64_t real = std::min(width, z_.columns - j);
    double sum[kColumnTile], again[kColumnTile];
    bool fine = true;
    sums(j, width, guess_ + j, buffer, sum);
    for (int64_t c = 0; c < real; ++c) {
      fine = fine && in_range<A>(sum[c]);
      softmin[c] = guess_[j + c] - std::log2(sum[c]);
    }
    if (fine) return;
    alignas(64) A top[kColumnTile];
    std::fill_n(top, kColumnTile, std::numeric_limits<A>::lowest());
    each_tile(j, width, buffer, [&](Tile<A> t, int64_t i, int64_t count) {
      max_columns<A>(t, count, width, k_ * z_.sign(), other_ + i, top);
    });
    for (int64_t c = 0; c < width; ++c) top[c] = -top[c];
    sums(j, width, top, buffer, again);
    for (int64_t c = 0; c < real; ++c)
      if (!in_range<A>(sum[c])) softmin[c] = top[c] - std::log2(again[c]);
  }
  void sums(int64_t j, int64_t width, const A* guess, A* buffer, double* sum) const {
    constexpr int64_t kFlush = 240;  // rows that are summed before going to doubles
    alignas(64) A part[kColumnTile];
    std::fill_n(sum, width, 0.0);
    std::fill_n(part, width, A{0});
    each_tile(j, width, buffer, [&](Tile<A> t, int64_t i, int64_t count) {
      sum_columns<A>(t, count, width, k_ * z_.sign(), other_ + i, guess, part);
      if ((i + count) % kFlush && i + count < z_.rows) return;
      for (int64_t c = 0; c < width; ++c) sum[c] += part[c];
      std::fill_n(part, width, A{0});
    });
  }
  template <class F>
  void each_tile(int64_t j, int64_t width, A* buffer, F&& f) const {
    for (int64_t i = 0; i < z_.rows; i += kRowBlock) {
      const int64_t count = std::min(kRowBlock, z_.rows - i);
      f(z_.tile(i, count, j, width, buffer), i, count);
    }
  }

  const Scores<A>& z_;
  const A k_;
  const A *guess_, *other_;
};
