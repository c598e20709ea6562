// Means of the other side's points under the rows of a plan between points in few dimensions, and
// under its columns from the same products and powers: sums over j of b_j E_ij y_j and over i of
// w_i E_ij x_i (sweep.h has E). The columns' go by chunks of rows, as their plain sums do. In many
// dimensions this was no faster than a pass for each side. Included inside a target's namespace.

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
        depth_(z.few_dimensions()),
        sweep_(z, false, row_weight ? depth_ + 1 : 0),
        weighted_(size()),
        column_(row_weight ? sweep_.chunks() * size() : 0) {
    for (int64_t d = 0; d < depth_; ++d)
      for (int64_t j = 0; j < z.padded(); ++j)
        weighted_[d * z.padded() + j] = j < z.columns ? input.weight[j] * z.y().row(j)[d] : A{0};
    if (row_weight) std::fill_n(column_.data(), sweep_.chunks() * size(), A{0});
  }

  // rows(i, sum, means), columns(j, sum, means): sums of weights and, not divided by them, means
  // (D).
  template <class F, class G>
  void run(F&& rows, G&& columns) const {
    sweep_.run(input_,
               [&](int64_t i, int64_t count, A*, const double* sum, A* w, const A* e, int64_t ld) {
                 A mean[3];
                 for (int64_t r = 0; r < count; ++r) {
                   dots(e + r * ld, mean);
                   rows(i + r, sum[r], mean);
                 }
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
      for (int64_t j = begin * kStrip; j < std::min(end * kStrip, z_.columns); j += kStrip) {
        sweep_.column_sums(j, std::min(kStrip, z_.padded() - j), sum);
        for (int64_t l = 0; l < std::min(kStrip, z_.columns - j); ++l) {
          double mean[3] = {};
          for (int64_t c = 0; c < sweep_.chunks(); ++c)
            for (int64_t d = 0; d < depth_; ++d)
              mean[d] += column_[c * size() + d * z_.padded() + j + l];
          columns(j + l, sum[l], mean);
        }
      }
    });
  }

 private:
  int64_t size() const { return depth_ * z_.padded(); }

  void dots(const A* e, A* mean) const {
    const int64_t width = z_.padded();
    if (depth_ == 1) return row_dots<A, 1>(e, weighted_.data(), width, width, mean);
    if (depth_ == 2) return row_dots<A, 2>(e, weighted_.data(), width, width, mean);
    row_dots<A, 3>(e, weighted_.data(), width, width, mean);
  }
  void add_columns(int64_t i, int64_t count, const A* w, const A* e, int64_t ld) const {
    A* to = column_.data() + i / sweep_.chunk_rows() * size();
    for (int64_t d = 0; d < depth_; ++d, to += z_.padded()) {
      A scaled[kRowBlock];
      for (int64_t r = 0; r < count; ++r) scaled[r] = w[r] * z_.x().row(i + r)[d];
      add_weighted_rows(e, ld, count, scaled, z_.padded(), to);
    }
  }

  const Scores<A>& z_;
  const typename Sweep<A>::Input input_;
  const A* row_weight_;
  const int64_t depth_;
  const Sweep<A> sweep_;
  Scratch<A> weighted_, column_;
};
