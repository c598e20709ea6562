// Gradients at the optimum, by the envelope theorem: with P fixed,
//   d/dx_i = m_i sum_j p_ij dC_ij/dx_i,  p_ij = e_ij normalised over j,  m_i = a_i e^(-f_i/rho)
//   d/da_i = (rho + eps)(1 - e^(-f_i/rho)) + eps (mass b - 1), or f_i - eps (1 - mass b)
//   d/dC_ij = P_ij
// and the same of the self terms, whose two halves are equal. Also plans and their products.
// Included inside a target's namespace.

// One side's part of `potentials`.
struct KeptSide {
  KeptSide(const double* from, int64_t n) : f(from), seen(from + n), softmin(from + 2 * n) {}
  const double *f, *seen, *softmin;
};

// Exponents of rows and columns: e_ij = 2^(k Z_ij + row_i + column_j).
template <class A>
class Exponents {
 public:
  Exponents(const Scores<A>& z, double epsilon, const double* row, const double* column,
            const double* weight)
      : k_(static_cast<A>(1.4426950408889634 / epsilon)), z_(z), row_(z.rows), column_(z.padded()) {
    const double k = k_;
    for (int64_t i = 0; i < z.rows; ++i) row_[i] = static_cast<A>(k * (row[i] - z.row_shift(i)));
    std::fill_n(column_.data(), z.padded(), kNothing<A>);
    for (int64_t j = 0; j < z.columns; ++j) {
      if (weight[j] <= 0) continue;
      column_[j] = static_cast<A>(k * (column[j] - z.column_shift(j)) + std::log2(weight[j]));
    }
  }
  Rows<A> rows() const { return {z_, k_, row_.data(), column_.data()}; }

 private:
  const A k_;
  const Scores<A>& z_;
  Scratch<A> row_, column_;
};

inline double row_mass(const Measure& m, const KeptSide& kept, int64_t i) {
  return m.weight[i] * (m.rho >= 0 ? std::exp(-kept.f[i] / m.rho) : 1);
}

// sum[i] (n, D) += factor times the gradient in x_i of sum_j P_ij C_ij.
template <class A>
void point_gradient(const Gradients& op, const Scores<A>& z, const Cloud<A>& x, const Cloud<A>& y,
                    const KeptSide& own, const KeptSide& other, double factor, double* sum) {
  const Cost kind = static_cast<Cost>(op.kind);
  const Exponents<A> exponents(z, op.epsilon, own.softmin, other.seen, y.measure.weight);
  const Values<A> values(y.row(0), y.n, y.depth);
  // GeomLoss's distance is flat below 1e-4.
  const A least = kind != Cost::distance ? A(-1) : op.geomloss ? A(1.00001e-4) : A(0);
  weighted_means(exponents.rows(), values, least, [&](int64_t i, MeanRow row, const A* means) {
    const double scale = factor * row_mass(x.measure, own, i) / row.plain;
    if (scale == 0) return;
    const double pull = kind == Cost::cosine ? 0 : row.sum;
    for (int64_t k = 0; k < x.depth; ++k)
      sum[i * x.depth + k] += scale * (pull * x.row(i)[k] - means[k]);
  });
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

// The gradient in one side's points: of the cross term, minus the self term's.
template <class A>
void side_gradient(const Gradients& op, const Geometry<A>& geometry, bool second, const Kept& kept,
                   double upstream, const View& to) {
  const Cloud<A>&x = second ? geometry.y() : geometry.x(),
        &y = second ? geometry.x() : geometry.y();
  const KeptSide own(second ? kept.y : kept.x, x.n), other(second ? kept.x : kept.y, y.n);
  Scratch<double> sum(x.n * x.depth);
  std::fill_n(sum.data(), x.n * x.depth, 0.0);
  {
    const auto z = second ? geometry.transposed() : geometry.cross();
    point_gradient(op, *z, x, y, own, other, upstream, sum.data());
  }
  if (op.debias) {
    const KeptSide self(second ? kept.yy : kept.xx, x.n);
    const auto z = geometry.self(x);
    point_gradient(op, *z, x, x, self, self, -upstream, sum.data());
  }
  if (static_cast<Cost>(op.kind) == Cost::cosine)
    project(x.measure.points, x.measure.start, x.n, x.depth, sum.data());
  for (int64_t i = 0; i < x.n * x.depth; ++i) set_value(to, x.measure.start * x.depth + i, sum[i]);
}

// d/da_i of the term of `m` with a measure of mass `other`.
inline double weight_slope(const Problem& op, const Measure& m, double other, double f) {
  if (m.rho >= 0) return -(m.rho + op.epsilon) * std::expm1(-f / m.rho) + op.epsilon * (other - 1);
  return f - op.epsilon * (1 - other);
}

inline void weight_gradient(const Gradients& op, const Measure& m, double other,
                            const double* cross, const double* self, double upstream,
                            const View& to) {
  const bool balanced = op.rho_a < 0 && op.rho_b < 0;
  Scratch<double> slope(m.n);
  double mean = 0;
  for (int64_t i = 0; i < m.n; ++i) {
    slope[i] = weight_slope(op, m, other, cross[i]);
    if (self) slope[i] += op.epsilon * (m.mass - other) - weight_slope(op, m, m.mass, self[i]);
    mean += m.weight[i] * slope[i];
  }
  mean = balanced ? mean / m.mass : 0;
  for (int64_t i = 0; i < m.n; ++i) set_value(to, m.start + i, upstream * (slope[i] - mean));
}

template <class A>
void cost_gradient(const Gradients& op, const Instance& one, const Geometry<A>& geometry,
                   const Kept& kept, double upstream) {
  const auto z = geometry.cross();
  const KeptSide x(kept.x, one.x.n), y(kept.y, one.y.n);
  const Exponents<A> exponents(*z, op.epsilon, x.softmin, y.seen, one.y.weight);
  const int64_t start = one.index * one.x.n * one.y.n;
  each_entry(exponents.rows(), [&](int64_t i, int64_t j, int64_t count, const A* e) {
    const double scale = upstream * row_mass(one.x, x, i);
    for (int64_t c = 0; c < count; ++c)
      set_value(op.dcost, start + i * one.y.n + j + c, scale * e[c]);
  });
}

// dW[l,k] += the plan's mass between labels l and k; of the self terms half of it is taken away.
template <class A>
void label_gradient(const Gradients& op, const Geometry<A>& geometry, const Kept& kept,
                    double upstream, double* to) {
  const auto add = [&](const Scores<A>& z, const Cloud<A>& x, const Cloud<A>& y, const double* own,
                       const double* other, double factor) {
    const KeptSide row(own, x.n), column(other, y.n);
    const Exponents<A> exponents(z, op.epsilon, row.softmin, column.seen, y.measure.weight);
    Scratch<double> mass(x.n);
    for (int64_t i = 0; i < x.n; ++i) mass[i] = factor * row_mass(x.measure, row, i);
    label_sums(exponents.rows(), mass.data(), x.measure.label, y.measure.label, op.labels, to);
  };
  const Cloud<A>&x = geometry.x(), &y = geometry.y();
  add(*geometry.cross(), x, y, kept.x, kept.y, upstream);
  if (!op.debias) return;
  add(*geometry.self(x), x, x, kept.xx, kept.xx, -upstream / 2);
  add(*geometry.self(y), y, y, kept.yy, kept.yy, -upstream / 2);
}

template <class A>
void gradients_as(const Gradients& op, const Instance& one, int64_t workspace, const Kept& kept) {
  const double upstream = value_of(op.upstream, one.index);
  const Measure &x = one.x, &y = one.y;
  if (op.da) weight_gradient(op, x, y.mass, kept.x, kept.xx, upstream, op.da);
  if (op.db) weight_gradient(op, y, x.mass, kept.y, kept.yy, upstream, op.db);
  if (!op.dx && !op.dy && !op.dcost && !op.dlabel_cost) return;
  const Geometry<A> geometry(op, one, workspace);
  if (op.dx) side_gradient(op, geometry, false, kept, upstream, op.dx);
  if (op.dy) side_gradient(op, geometry, true, kept, upstream, op.dy);
  if (op.dcost) cost_gradient(op, one, geometry, kept, upstream);
  if (op.dlabel_cost)
    label_gradient(op, geometry, kept, upstream,
                   op.dlabel_cost.template as<double>() + one.index * op.labels * op.labels);
}

template <class A>
void plan_as(const Plan& op, const Instance& one, const Kept& kept) {
  const Geometry<A> geometry(op, one, 0);
  const auto z = geometry.cross();
  const KeptSide x(kept.x, one.x.n), y(kept.y, one.y.n);
  const Exponents<A> exponents(*z, op.epsilon, x.f, y.f, one.y.weight);
  const int64_t start = one.index * one.x.n * one.y.n;
  each_entry(exponents.rows(), [&](int64_t i, int64_t j, int64_t count, const A* e) {
    for (int64_t c = 0; c < count; ++c)
      set_value(op.out, start + i * one.y.n + j + c, one.x.weight[i] * e[c]);
  });
}

template <class A>
void apply_as(const Apply& op, const Instance& one, const Kept& kept) {
  const Geometry<A> geometry(op, one, 0);
  const auto z = op.transposed ? geometry.transposed() : geometry.cross();
  const Measure &x = op.transposed ? one.y : one.x, &y = op.transposed ? one.x : one.y;
  const KeptSide own(op.transposed ? kept.y : kept.x, x.n);
  const KeptSide other(op.transposed ? kept.x : kept.y, y.n);
  const Exponents<A> exponents(*z, op.epsilon, own.f, other.f, y.weight);
  const A* v = op.v.template as<A>() + y.start * op.columns;
  const Values<A> values(v, y.n, op.columns);
  A* out = op.out.template as<A>() + x.start * op.columns;
  weighted_means(exponents.rows(), values, A(-1), [&](int64_t i, MeanRow, const A* means) {
    for (int64_t k = 0; k < op.columns; ++k)
      out[i * op.columns + k] = static_cast<A>(x.weight[i] * means[k]);
  });
}
