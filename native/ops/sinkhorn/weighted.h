// Sums over a plan's rows, after the iterations: e_ij = 2^(k Z_ij + row_i + column_j), with which
//   means    sum_j e_ij w_ij v_j, w_ij = 1 or 1/|x_i - y_j|  (gradients in the points, P v)
//   entries  m_i e_ij                                        (plans, gradients in a cost)
//   bins     sum of m_i e_ij over the pairs of two labels    (gradients in the label costs)
// Included inside a target's namespace.

template <class A>
struct Rows {
  const Scores<A>& z;
  A k;
  const A *row, *column;  // (rows), (padded columns)

  A scale() const { return k * z.sign(); }
};

// A tile of powers, in place of or beside its scores.
template <class A>
void powers(const Rows<A>& p, int64_t i, int64_t count, int64_t j, int64_t width, Tile<A> t, A* e,
            int64_t ld) {
  using V = vector_t<A>;
  for (int64_t r = 0; r < count; ++r) {
    const V own = splat(p.row[i + r]), scale = splat(p.scale());
    const A* z = t.z + r * t.ld;
    for (int64_t c = 0; c < width; c += kLanes<A>)
      store(e + r * ld + c, power_of_two(fma(scale, load(z + c), load(p.column + j + c) + own)));
  }
}

// e/|x-y|, 0 for coincident points (|x-y| <= `least`); to `sum` their sum.
template <class A>
void divide_by_distance(Tile<A> t, int64_t count, int64_t width, A least, A* e, int64_t ld,
                        double* sum) {
  using V = vector_t<A>;
  for (int64_t r = 0; r < count; ++r) {
    V acc{};
    for (int64_t c = 0; c < width; c += kLanes<A>) {
      const V distance = -load(t.z + r * t.ld + c);
      const V w = select(distance > splat(least), load(e + r * ld + c) / distance, V{});
      store(e + r * ld + c, w);
      acc = acc + w;
    }
    sum[r] += reduce_add(acc);
  }
}

template <class A>
void add_sums(const A* e, int64_t ld, int64_t count, int64_t width, double* sum) {
  using V = vector_t<A>;
  for (int64_t r = 0; r < count; ++r) {
    V acc{};
    for (int64_t c = 0; c < width; c += kLanes<A>) acc = acc + load(e + r * ld + c);
    sum[r] += reduce_add(acc);
  }
}

// `count` values from `start` on, of an array of any type.
template <class A>
struct Accumulators : Scratch<A> {
  Accumulators(const View& from, int64_t start, int64_t count) : Scratch<A>(count) {
    visit_float(from.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      if constexpr (holds<A, T>()) widen_to(from.template as<T>() + start, count, this->data());
    });
  }
};

// Values (columns, width) of the other side as the right operand of a product.
template <class A>
class Values {
 public:
  Values(const View& from, int64_t start, int64_t count, int64_t width)
      : Values(Accumulators<A>(from, start, count * width).data(), count, width) {}
  Values(const A* from, int64_t count, int64_t width)
      : width(width),
        padded(round_up(width, kTileCols<A>)),
        ld_(round_up(count, kTileCols<A>)),
        panels_(padded * ld_) {
    Scratch<A> rows(ld_ * width);
    std::copy_n(from, count * width, rows.data());
    std::fill_n(rows.data() + count * width, (ld_ - count) * width, A{0});
    pack_columns<kTileCols<A>>(rows.data(), width, width, ld_, panels_.data());
  }
  const int64_t width, padded;
  const A* at(int64_t j, int64_t column) const {
    return panels_.data() + column * ld_ + j * kTileCols<A>;
  }

 private:
  int64_t ld_;
  Scratch<A> panels_;
};

struct MeanRow {
  double plain;  // sum of e
  double sum;    // sum of e w
};

// finish(i, plain, sum, means): means (width) of A. fill(tile, i, count, j, width, e, plain, sum)
// makes of scores what multiplies the values, and may add to the rows' sums.
template <class A, class W, class F>
void each_product(const Scores<A>& z, const Values<A>& values, W&& fill, F&& finish) {
  parallel_for((z.rows + kRowBlock - 1) / kRowBlock, 1, [&](int64_t begin, int64_t end) {
    alignas(64) A buffer[kRowBlock * kColumnTile], e[kRowBlock * kColumnTile];
    Scratch<A> means(kRowBlock * values.padded);
    for (int64_t i = begin * kRowBlock; i < std::min(end * kRowBlock, z.rows); i += kRowBlock) {
      const int64_t count = std::min(kRowBlock, z.rows - i);
      double plain[kRowBlock] = {}, sum[kRowBlock] = {};
      std::fill_n(means.data(), kRowBlock * values.padded, A{0});
      // Rows beyond the last are multiplied too.
      std::fill_n(e, kRowBlock * kColumnTile, A{0});
      for (int64_t j = 0; j < z.padded(); j += kColumnTile) {
        const int64_t width = std::min(kColumnTile, z.padded() - j);
        fill(z.tile(i, count, j, width, buffer), i, count, j, width, e, plain, sum);
        for (int64_t c = 0; c < values.padded; c += kTileCols<A>)
          for (int64_t r = 0; r < count; r += kTileRows)
            multiply_tile<false, Start::add>(width, e + r * kColumnTile, kColumnTile,
                                             values.at(j, c), means.data() + r * values.padded + c,
                                             values.padded);
      }
      for (int64_t r = 0; r < count; ++r)
        finish(i + r, plain[r], sum[r], means.data() + r * values.padded);
    }
  });
}

// The same of powers: weigh(tile, i, count, j, width, e, sum) may change them.
template <class A, class W, class F>
void each_mean(const Rows<A>& p, const Values<A>& values, W&& weigh, F&& finish) {
  const auto fill = [&](Tile<A> t, int64_t i, int64_t count, int64_t j, int64_t width, A* e,
                        double* plain, double* sum) {
    powers(p, i, count, j, width, t, e, kColumnTile);
    add_sums(e, kColumnTile, count, width, plain);
    weigh(t, i, count, j, width, e, sum);
  };
  each_product(p.z, values, fill, finish);
}

// finish(i, row, means). `least` < 0: w = 1.
template <class A, class F>
void weighted_means(const Rows<A>& p, const Values<A>& values, A least, F&& finish) {
  const auto weigh = [&p, least](Tile<A> t, int64_t i, int64_t count, int64_t j, int64_t width,
                                 A* e, double* sum) {
    if (least < 0) return;
    alignas(64) A buffer[kRowBlock * kColumnTile];
    const Tile<A> distances = p.z.distances(i, count, j, width, t, buffer);
    divide_by_distance(distances, count, width, least, e, kColumnTile, sum);
  };
  each_mean(p, values, weigh, [&](int64_t i, double plain, double sum, const A* means) {
    finish(i, MeanRow{plain, least >= 0 ? sum : plain}, means);
  });
}

// What each_tile_of and label_sums take: the powers of each tile.
template <class A>
auto powers_of(const Rows<A>& p) {
  return [p](Tile<A> t, int64_t i, int64_t count, int64_t j, int64_t width, A* e) {
    powers(p, i, count, j, width, t, e, kColumnTile);
  };
}

// entry(i, j, count, e): `count` entries of row i from column j on, of what fill(tile, i, count, j,
// width, e) makes of scores.
template <class A, class W, class F>
void each_tile_of(const Scores<A>& z, W&& fill, F&& entry) {
  parallel_for((z.rows + kRowBlock - 1) / kRowBlock, 1, [&](int64_t begin, int64_t end) {
    alignas(64) A buffer[kRowBlock * kColumnTile], e[kRowBlock * kColumnTile];
    for (int64_t i = begin * kRowBlock; i < std::min(end * kRowBlock, z.rows); i += kRowBlock) {
      const int64_t count = std::min(kRowBlock, z.rows - i);
      for (int64_t j = 0; j < z.padded(); j += kColumnTile) {
        const int64_t width = std::min(kColumnTile, z.padded() - j);
        fill(z.tile(i, count, j, width, buffer), i, count, j, width, e);
        for (int64_t r = 0; r < count; ++r)
          entry(i + r, j, std::min(width, z.columns - j), e + r * kColumnTile);
      }
    }
  });
}
template <class A, class F>
void each_entry(const Rows<A>& p, F&& entry) {
  each_tile_of(p.z, powers_of(p), entry);
}

// to (labels, labels) += the sum of mass_i e_ij over the pairs of each two labels. Chunks of rows
// are fixed, so that the order of the sums is.
template <class A, class W>
void label_sums(const Scores<A>& z, W&& fill, const double* mass, const int32_t* x,
                const int32_t* y, int64_t labels, double* to) {
  const int64_t blocks = (z.rows + kRowBlock - 1) / kRowBlock, size = labels * labels;
  const int64_t chunks = label_chunks(z.rows, labels);
  Scratch<double> bins(chunks * size);
  std::fill_n(bins.data(), chunks * size, 0.0);
  parallel_for(chunks, 1, [&](int64_t begin, int64_t end) {
    alignas(64) A buffer[kRowBlock * kColumnTile], e[kRowBlock * kColumnTile];
    for (int64_t c = begin; c < end; ++c) {
      for (int64_t block = c * blocks / chunks; block < (c + 1) * blocks / chunks; ++block) {
        const int64_t i = block * kRowBlock, count = std::min(kRowBlock, z.rows - i);
        for (int64_t j = 0; j < z.padded(); j += kColumnTile) {
          const int64_t width = std::min(kColumnTile, z.padded() - j);
          fill(z.tile(i, count, j, width, buffer), i, count, j, width, e);
          for (int64_t r = 0; r < count; ++r) {
            double* bin = bins.data() + c * size + x[i + r] * labels;
            for (int64_t l = 0; l < std::min(width, z.columns - j); ++l)
              bin[y[j + l]] += mass[i + r] * e[r * kColumnTile + l];
          }
        }
      }
    }
  });
  for (int64_t c = 0; c < chunks; ++c)
    for (int64_t l = 0; l < size; ++l) to[l] += bins[c * size + l];
}
