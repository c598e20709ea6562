// Means of the other side's points under the rows of a plan, and under its columns from the same
// products and powers: sums over j of b_j E_ij y_j, over i of w_i E_ij x_i (sweep.h has E). The
// columns' go by chunks of rows, as their plain sums do. Included inside a target's namespace.

// dot[d] = sum over j of e_j y_dj, y (D, stride).
template <class A, int D>
inline void row_dots(const A* e, const A* y, int64_t stride, int64_t width, A* dot) {
  using V = vector_t<A>;
  V acc[D] = {};
  for (int64_t j = 0; j < width; j += kLanes<A>) {
    const V p = load(e + j);
#pragma GCC unroll 8
    for (int d = 0; d < D; ++d) acc[d] = fma(p, load(y + d * stride + j), acc[d]);
  }
#pragma GCC unroll 8
  for (int d = 0; d < D; ++d) dot[d] = reduce_add(acc[d]);
}

template <class A>
class PlanMeans {
 public:
  // `input` as of a sweep; `row_weight` (rows) only where the columns' means are wanted.
  PlanMeans(const Scores<A>& z, const typename Sweep<A>::Input& input, const A* row_weight)
      : z_(z),
        input_(input),
        row_weight_(row_weight),
        depth_(z.x().depth),
        few_(z.few_dimensions() > 0),
        sweep_(z, false, row_weight ? depth_ + 1 : 0),
        weighted_((few_ ? z.padded() : z.columns) * depth_),
        values_(few_ ? nullptr : weigh_columns(), few_ ? 0 : z.columns, depth_),
        column_(row_weight ? sweep_.chunks() * column_size() : 0) {
    if (few_) weigh_few();
    std::fill_n(column_.data(), row_weight ? sweep_.chunks() * column_size() : 0, A{0});
  }

  // rows(i, sum, means), columns(j, sum, means): sums of weights and, not divided by them, means
  // (D).
  template <class F, class G>
  void run(F&& rows, G&& columns) const {
    sweep_.run(input_,
               [&](int64_t i, int64_t count, A*, const double* sum, A* w, const A* e, int64_t ld) {
                 row_means(i, count, sum, e, ld, rows);
                 if (row_weight_) {
                   std::copy_n(row_weight_ + i, count, w);
                   add_columns(i, count, w, e, ld);
                 }
                 return true;
               });
    if (!row_weight_) return;
    constexpr int64_t kStrip = Sweep<A>::kStrip;
    parallel_for((z_.columns + kStrip - 1) / kStrip, 1, [&](int64_t begin, int64_t end) {
      double sum[kStrip];
      Scratch<double> means(kStrip * depth_);
      for (int64_t j = begin * kStrip; j < std::min(end * kStrip, z_.columns); j += kStrip) {
        const int64_t count = std::min(kStrip, z_.columns - j);
        sweep_.column_sums(j, std::min(kStrip, z_.padded() - j), sum);
        std::fill_n(means.data(), count * depth_, 0.0);
        for (int64_t c = 0; c < sweep_.chunks(); ++c)
          for (int64_t d = 0; d < depth_; ++d) {
            const A* from = column_.data() + c * column_size() + d * z_.padded() + j;
            for (int64_t l = 0; l < count; ++l) means[l * depth_ + d] += from[l];
          }
        for (int64_t l = 0; l < count; ++l) columns(j + l, sum[l], means.data() + l * depth_);
      }
    });
  }

 private:
  int64_t column_size() const { return round_up(depth_, kTileRows) * z_.padded(); }

  const A* weigh_columns() const {
    for (int64_t j = 0; j < z_.columns; ++j)
      for (int64_t d = 0; d < depth_; ++d)
        weighted_[j * depth_ + d] = input_.weight[j] * z_.y().row(j)[d];
    return weighted_.data();
  }
  void weigh_few() const {
    for (int64_t d = 0; d < depth_; ++d)
      for (int64_t j = 0; j < z_.padded(); ++j)
        weighted_[d * z_.padded() + j] =
            j < z_.columns ? input_.weight[j] * z_.y().row(j)[d] : A{0};
  }

  template <class F>
  void row_means(int64_t i, int64_t count, const double* sum, const A* e, int64_t ld,
                 F&& rows) const {
    const int64_t width = z_.padded();
    if (few_) {
      A mean[3];
      for (int64_t r = 0; r < count; ++r) {
        if (depth_ == 1) row_dots<A, 1>(e + r * ld, weighted_.data(), width, width, mean);
        if (depth_ == 2) row_dots<A, 2>(e + r * ld, weighted_.data(), width, width, mean);
        if (depth_ == 3) row_dots<A, 3>(e + r * ld, weighted_.data(), width, width, mean);
        rows(i + r, sum[r], mean);
      }
      return;
    }
    Scratch<A> means(kRowBlock * values_.padded);
    std::fill_n(means.data(), kRowBlock * values_.padded, A{0});
    for (int64_t j = 0; j < width; j += kColumnTile)
      for (int64_t c = 0; c < values_.padded; c += kTileCols<A>)
        for (int64_t r = 0; r < count; r += kTileRows)
          multiply_tile<false, Start::add>(std::min(kColumnTile, width - j), e + r * ld + j, ld,
                                           values_.at(j, c), means.data() + r * values_.padded + c,
                                           values_.padded);
    for (int64_t r = 0; r < count; ++r) rows(i + r, sum[r], means.data() + r * values_.padded);
  }

  void add_columns(int64_t i, int64_t count, const A* w, const A* e, int64_t ld) const {
    A* to = column_.data() + i / sweep_.chunk_rows() * column_size();
    if (few_) {
      for (int64_t d = 0; d < depth_; ++d, to += z_.padded()) {
        A scaled[kRowBlock];
        for (int64_t r = 0; r < count; ++r) scaled[r] = w[r] * z_.x().row(i + r)[d];
        add_weighted_rows(e, ld, count, scaled, z_.padded(), to);
      }
      return;
    }
    const int64_t panels = (depth_ + kTileRows - 1) / kTileRows;
    Scratch<A> left(panels * count * kTileRows);
    for (int64_t d = 0; d < panels * kTileRows; ++d)
      for (int64_t r = 0; r < count; ++r)
        left[(d / kTileRows * count + r) * kTileRows + d % kTileRows] =
            d < depth_ ? w[r] * z_.x().row(i + r)[d] : A{0};
    alignas(64) A right[kRowBlock * kTileCols<A>];
    for (int64_t j = 0; j < z_.padded(); j += kTileCols<A>) {
      for (int64_t r = 0; r < count; ++r)
        std::memcpy(right + r * kTileCols<A>, e + r * ld + j, sizeof(A) * kTileCols<A>);
      for (int64_t p = 0; p < panels; ++p)
        multiply_tile<true, Start::add>(count, left.data() + p * count * kTileRows, 0, right,
                                        to + p * kTileRows * z_.padded() + j, z_.padded());
    }
  }

  const Scores<A>& z_;
  const typename Sweep<A>::Input input_;
  const A* row_weight_;
  const int64_t depth_;
  const bool few_;
  const Sweep<A> sweep_;
  Scratch<A> weighted_;
  const Values<A> values_;
  Scratch<A> column_;
};
