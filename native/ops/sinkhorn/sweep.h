// Both sides' softmins from one score and one power of two a pair. With the scores in units of
// log 2, E_ij = 2^(k Z_ij + r_i + c_j) for guesses r and c near the sides' potentials,
//   s_i = sum over j of b_j E_ij,  t_j = sum over i of w_i E_ij,
// are near 1, so that no maximum is needed, and the softmins are r_i - log2 s_i and c_j - log2 t_j.
// w_i is a_i, or a_i 2^(new - old potential) once s_i has given the row its new one: then t is what
// a second pass over the pairs would give (absorption, Schmitzer 2019, sec. 3.1). E of a block of
// rows lies in the cache between the two sums. Column sums go by chunks of rows and then over the
// chunks: neither depends on the number of threads. Of a measure and itself only the triangle is
// done, E_ij giving to s_i and s_j. Included inside a target's namespace.

// E of a row of a tile; gives its sum by lanes.
template <class A>
inline vector_t<A> power_row(const A* z, int64_t width, A k, A row, const A* column,
                             const A* weight, A* e) {
  vector_t<A> sum{};
  for (int64_t j = 0; j < width; j += kLanes<A>) {
    const auto p = power_of_two(fma(splat(k), load(z + j), load(column + j) + splat(row)));
    store(e + j, p);
    sum = fma(load(weight + j), p, sum);
  }
  return sum;
}

// The same of points in few dimensions, their products (of x times k) made on the way.
template <class A, int D>
inline vector_t<A> power_point(const A* x, const A* panel, int64_t width, A row, const A* column,
                               const A* weight, A* e) {
  using V = vector_t<A>;
  constexpr int L = kLanes<A>;
  V sum{}, point[D];
#pragma GCC unroll 8
  for (int d = 0; d < D; ++d) point[d] = splat(x[d]);
  for (int64_t j = 0; j < width; j += 2 * L, panel += 2 * L * D) {
#pragma GCC unroll 8
    for (int half = 0; half < 2 * L; half += L) {
      V s = load(column + j + half) + splat(row);
#pragma GCC unroll 8
      for (int d = 0; d < D; ++d) s = fma(point[d], load(panel + d * 2 * L + half), s);
      const V p = power_of_two(s);
      store(e + j + half, p);
      sum = fma(load(weight + j + half), p, sum);
    }
  }
  return sum;
}

// sum[r] += the lanes of each of 8 vectors, in the order of reduce_add.
template <class V>
inline void reduce_each(const V* v, double* sum) {
  for (int r = 0; r < 8; ++r) sum[r] += reduce_add(v[r]);
}
#ifdef SURPRISAL_TARGET_AVX2
inline void reduce_each(const F32* v, double* sum) {
  F32 t[8];
  for (int r = 0; r < 8; ++r) t[r] = v[r];
  transpose(t);
  float all[8];
  store(all, ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7])));
  for (int r = 0; r < 8; ++r) sum[r] += all[r];
}
#endif

// sum[j] += the rows' E times their weights.
template <class A, int R>
inline void add_weighted(const A* e, int64_t ld, const A* weight, int64_t width, A* sum) {
  using V = vector_t<A>;
  V own[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) own[r] = splat(weight[r]);
  for (int64_t j = 0; j < width; j += kLanes<A>) {
    V s = load(sum + j);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) s = fma(own[r], load(e + r * ld + j), s);
    store(sum + j, s);
  }
}

template <class A>
void add_weighted_rows(const A* e, int64_t ld, int64_t count, const A* weight, int64_t width,
                       A* sum) {
  int64_t r = 0;
  for (; r + 8 <= count; r += 8) add_weighted<A, 8>(e + r * ld, ld, weight + r, width, sum);
  for (; r < count; ++r) add_weighted<A, 1>(e + r * ld, ld, weight + r, width, sum);
}

inline void add_wide(const float* from, int64_t count, double* to) {
  constexpr int L = kLanes<double>;
  for (int64_t j = 0; j < count; j += L) store(to + j, load(to + j) + load_as_double(from + j));
}
inline void add_wide(const double* from, int64_t count, double* to) {
  for (int64_t j = 0; j < count; j += kLanes<double>) store(to + j, load(to + j) + load(from + j));
}

template <class A>
class Sweep {
 public:
  static constexpr int64_t kStrip = 192;  // columns; a multiple of kSquare
  // `per_column` values of each column are summed by chunks: 1 here, more by others, or none.
  explicit Sweep(const Scores<A>& z, bool triangle, int64_t per_column = 1)
      : z_(z),
        triangle_(triangle),
        columns_(per_column > 0),
        block_(z.is_streamed() || z.padded() <= 256 ? kRowBlock : 8),
        chunk_(chunk_of(z, per_column)),
        chunks_((z.rows + chunk_ - 1) / chunk_),
        partial_(columns_ ? chunks_ * z.padded() : 0) {}
  int64_t chunks() const { return chunks_; }
  int64_t chunk_rows() const { return chunk_; }

  // What a pass sees: guesses of rows and columns, the columns' weights.
  struct Input {
    A k;
    const A *row, *column, *weight;
  };
  // update(i, count, own, s, w, E, ld): sets the weights w of rows [i, i + count) in the columns'
  // sums, and gives false where it changed their guesses `own`, which E is then made with again.
  // All arrays have room for a whole number of vectors.
  template <class F>
  void run(const Input& in, F&& update) const {
    parallel_for(chunks_, 1, [&](int64_t begin, int64_t end) {
      alignas(64) A near[kNear];
      const int64_t ld = z_.padded() + 16;  // rows of 4 KiB would share cache sets
      const int64_t size = block_ * ld + z_.padded();
      const Scratch<A> far(size > kNear ? size : 0);
      A* e = size > kNear ? far.data() : near;
      for (int64_t c = begin; c < end; ++c) chunk(in, c, e, ld, e + block_ * ld, update);
    });
  }
  // The columns' sums [j, j + width) of the last run, j a multiple of kStrip, width <= kStrip.
  void column_sums(int64_t j, int64_t width, double* to) const {
    std::fill_n(to, width, 0.0);
    for (int64_t c = 0; c < chunks_; ++c) {
      if (first_of(c) > j) break;
      add_wide(partial_.data() + c * z_.padded() + j, width, to);
    }
  }

 private:
  static constexpr int64_t kNear = 10240;
  static constexpr int64_t kFlush = 240;  // rows that are summed before going to doubles
  static constexpr int64_t kTurn = 1024;  // columns

  // Enough chunks for many threads, but O(columns) memory.
  static int64_t chunk_of(const Scores<A>& z, int64_t per_column) {
    const int64_t values = z.padded() * std::max<int64_t>(1, per_column);
    const int64_t most = per_column > 1 ? std::clamp<int64_t>((int64_t{1} << 19) / values, 4, 64)
                                        : std::clamp<int64_t>((int64_t{1} << 18) / values, 16, 64);
    return std::max<int64_t>(kSquare, round_up((z.rows + most - 1) / most, kSquare));
  }
  // The first column that chunk c adds to, or before.
  int64_t first_of(int64_t c) const { return triangle_ ? c * chunk_ / kStrip * kStrip : 0; }

  template <class F>
  void chunk(const Input& in, int64_t c, A* e, int64_t ld, A* part, F&& update) const {
    const int64_t start = first_of(c), width = z_.padded() - start;
    double* total = partial_.data() + c * z_.padded() + start;
    if (columns_) std::fill_n(total, width, 0.0);
    std::fill_n(part + start, width, A{0});
    const int64_t begin = c * chunk_, end = std::min(z_.rows, begin + chunk_);
    for (int64_t i = begin; i < end; i += block_) {
      const int64_t count = std::min(block_, end - i);
      const int64_t first = triangle_ ? i / kSquare * kSquare : 0;
      alignas(64) A own[kRowBlock], w[kRowBlock];
      alignas(64) double sum[kRowBlock];
      std::copy_n(in.row + i, round_up(count, 8), own);
      powers(in, i, count, first, own, e, ld, sum);
      if (!update(i, count, own, sum, w, e, ld)) powers(in, i, count, first, own, e, ld, sum);
      if (!columns_) continue;
      const int64_t later = triangle_ ? std::min(first + kSquare, z_.padded()) : 0;
      add_weighted_rows(e + later, ld, count, w, z_.padded() - later, part + later);
      if ((i - begin + count) % kFlush && i + count < end) continue;
      add_wide(part + start, width, total);
      std::fill_n(part + start, width, A{0});
    }
  }

  // E of rows [i, i + count) from column `first` on, and its sums; those beyond count are 1.
  void powers(const Input& in, int64_t i, int64_t count, int64_t first, const A* own, A* e,
              int64_t ld, double* sum) const {
    using V = vector_t<A>;
    const int64_t whole = round_up(count, 8);
    std::fill_n(sum, whole, 0.0);
    V acc[kRowBlock];
    std::fill(acc + count, acc + whole, V{});
    for (int64_t j = first; j < z_.padded(); j += kTurn) {
      const int64_t width = std::min(kTurn, z_.padded() - j);
      switch (z_.few_dimensions()) {
        case 1:
          points<1>(in, i, count, j, width, own, e, ld, acc);
          break;
        case 2:
          points<2>(in, i, count, j, width, own, e, ld, acc);
          break;
        case 3:
          points<3>(in, i, count, j, width, own, e, ld, acc);
          break;
        default:
          tiles(in, i, count, j, width, own, e, ld, acc);
      }
      for (int64_t r = 0; r < count; r += 8) reduce_each(acc + r, sum + r);
    }
    std::fill(sum + count, sum + whole, 1.0);
  }
  template <int D>
  void points(const Input& in, int64_t i, int64_t count, int64_t j, int64_t width, const A* own,
              A* e, int64_t ld, vector_t<A>* acc) const {
    A x[D];
    for (int64_t r = 0; r < count; ++r) {
      for (int d = 0; d < D; ++d) x[d] = in.k * z_.x().row(i + r)[d];
      acc[r] = power_point<A, D>(x, z_.y().panel(j), width, own[r], in.column + j, in.weight + j,
                                 e + r * ld + j);
    }
  }
  void tiles(const Input& in, int64_t i, int64_t count, int64_t from, int64_t length, const A* own,
             A* e, int64_t ld, vector_t<A>* acc) const {
    alignas(64) A buffer[kRowBlock * kColumnTile];
    std::fill_n(acc, count, vector_t<A>{});
    for (int64_t j = from; j < from + length; j += kColumnTile) {
      const int64_t width = std::min(kColumnTile, from + length - j);
      const Tile<A> t = z_.tile(i, count, j, width, buffer);
      for (int64_t r = 0; r < count; ++r)
        acc[r] = acc[r] + power_row(t.z + r * t.ld, width, in.k * z_.sign(), own[r], in.column + j,
                                    in.weight + j, e + r * ld + j);
    }
  }

  const Scores<A>& z_;
  const bool triangle_, columns_;
  const int64_t block_, chunk_, chunks_;
  Scratch<double> partial_;
};
