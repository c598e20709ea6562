// Gradients in the points: d/dx_i = m_i sum over j of p_ij dC_ij/dx_i, with p_ij the powers of row
// i normalised, m_i = a_i e^(-f_i/rho). Included inside a target's namespace.

// One side of a term: its points, what was kept, and where its gradient goes (n, D), or null.
template <class A>
struct End {
  const Cloud<A>& cloud;
  KeptSide kept;
  double* sum;
};

template <class A, class M>
void add_pull(const Gradients& op, const End<A>& end, double factor, int64_t i, double plain,
              double weighted, const M* means) {
  const Cloud<A>& x = end.cloud;
  const double scale = factor * row_mass(x.measure, end.kept, i) / plain;
  if (scale == 0) return;
  const double pull = static_cast<Cost>(op.kind) == Cost::cosine ? 0 : weighted;
  double* to = end.sum + i * x.depth;
  for (int64_t k = 0; k < x.depth; ++k) to[k] += scale * (pull * x.row(i)[k] - means[k]);
}

// In any number of dimensions, also of |x-y|; weights are in the exponents, which any may be.
template <class A>
void row_gradient(const Gradients& op, const Scores<A>& z, const End<A>& x, const End<A>& y,
                  double factor) {
  const Exponents<A> exponents(z, op.epsilon, x.kept.softmin, y.kept.seen, y.cloud.measure.weight);
  const Values<A> values(y.cloud.row(0), y.cloud.n, y.cloud.depth);
  const bool is_distance = static_cast<Cost>(op.kind) == Cost::distance;
  // GeomLoss's distance is flat below 1e-4.
  const A least = !is_distance ? A(-1) : op.geomloss ? A(1.00001e-4) : A(0);
  weighted_means(exponents.rows(), values, least, [&](int64_t i, MeanRow row, const A* means) {
    add_pull(op, x, factor, i, row.plain, row.sum, means);
  });
}

// Potentials of the points as guesses and weights of a sweep.
template <class A>
void see(Side<A>& side, const double* potential, double unit, const Scores<A>& z, bool rows) {
  for (int64_t i = 0; i < side.n; ++i) {
    side.potential[i] = potential[i];
    side.shift[i] = rows ? z.row_shift(i) : z.column_shift(i);
  }
  prepare_sweep(side, unit);
}

// Whether seen and softmin agree enough for one power to serve rows and columns.
inline bool are_near(const KeptSide& kept, int64_t n, double unit) {
  for (int64_t i = 0; i < n; ++i)
    if (!(std::fabs(kept.seen[i] - kept.softmin[i]) * unit < 40)) return false;
  return true;
}

// Adds a term's gradients, in y too where y.sum is given and `x` and `y` are not one measure.
// false: nothing done, one side at a time must be.
template <class A>
bool add_gradients(const Gradients& op, const Scores<A>& z, const End<A>& x, const End<A>& y,
                   double factor) {
  const auto plainly = [&] {
    if (!y.sum) row_gradient(op, z, x, y, factor);
    return !y.sum;
  };
  if (!z.few_dimensions()) return plainly();
  const A k = static_cast<A>(1.4426950408889634 / op.epsilon);
  Side<A> rows(x.cloud.measure, x.cloud.n), columns(y.cloud.measure, y.cloud.n);
  if (!rows.has_plain_weights() || !columns.has_plain_weights()) return plainly();
  if (y.sum && !(are_near(x.kept, rows.n, k) && are_near(y.kept, columns.n, k))) return false;
  see(rows, x.kept.softmin, k, z, true);
  see(columns, y.kept.seen, k, z, false);
  for (int64_t i = 0; y.sum && i < rows.n; ++i) {
    const double seen = double(k) * (x.kept.seen[i] - rows.shift[i]);
    rows.counted[i] = static_cast<A>(rows.weight[i] * std::exp2(seen - rows.guess[i]));
  }
  const PlanMeans<A> means(z, {k, rows.guess, columns.guess, columns.counted},
                           y.sum ? rows.counted : nullptr);
  means.run(
      [&](int64_t i, double sum, const A* mean) { add_pull(op, x, factor, i, sum, sum, mean); },
      [&](int64_t j, double sum, const double* mean) {
        add_pull(op, y, factor, j, sum, sum, mean);
      });
  return true;
}

// Of the direction x/|x|, made one of x itself.
inline void project(const View& points, int64_t start, int64_t n, int64_t depth, double* sum) {
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = (start + i) * depth;
    double square = 0, along = 0;
    for (int64_t k = 0; k < depth; ++k) {
      const double v = value_of(points, at + k);
      square += v * v;
      along += v * sum[i * depth + k];
    }
    for (int64_t k = 0; k < depth; ++k) {
      double& g = sum[i * depth + k];
      g = square > 0 ? (g - value_of(points, at + k) * along / square) / std::sqrt(square) : 0;
    }
  }
}

template <class A>
void finish_points(const Gradients& op, const Geometry<A>& geometry, const End<A>& end,
                   const double* self, double upstream, const View& to) {
  const Cloud<A>& x = end.cloud;
  if (op.debias) {
    const KeptSide kept(self, x.n);
    const auto z = geometry.self(x, false);
    add_gradients(op, *z, End<A>{x, kept, end.sum}, End<A>{x, kept, nullptr}, -upstream);
  }
  if (static_cast<Cost>(op.kind) == Cost::cosine)
    project(x.measure.points, x.measure.start, x.n, x.depth, end.sum);
  for (int64_t i = 0; i < x.n * x.depth; ++i)
    set_value(to, x.measure.start * x.depth + i, end.sum[i]);
}

template <class A>
void point_gradients(const Gradients& op, const Geometry<A>& geometry, const Kept& kept,
                     double upstream) {
  const Cloud<A>&x = geometry.x(), &y = geometry.y();
  const int64_t size_x = op.dx ? x.n * x.depth : 0, size_y = op.dy ? y.n * y.depth : 0;
  const Scratch<double> dx(size_x), dy(size_y);
  std::fill_n(dx.data(), size_x, 0.0);
  std::fill_n(dy.data(), size_y, 0.0);
  const KeptSide kept_x(kept.x, x.n), kept_y(kept.y, y.n);
  const End<A> at_x{x, kept_x, dx.data()}, at_y{y, kept_y, dy.data()};
  const auto one = [&](const End<A>& own, const End<A>& other, bool second) {
    const auto z = second ? geometry.transposed(false) : geometry.cross(false);
    add_gradients(op, *z, own, End<A>{other.cloud, other.kept, nullptr}, upstream);
  };
  if (!op.dx || !op.dy || !add_gradients(op, *geometry.cross(false), at_x, at_y, upstream)) {
    if (op.dx) one(at_x, at_y, false);
    if (op.dy) one(at_y, at_x, true);
  }
  if (op.dx) finish_points(op, geometry, at_x, kept.xx, upstream, op.dx);
  if (op.dy) finish_points(op, geometry, at_y, kept.yy, upstream, op.dy);
}
