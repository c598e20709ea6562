// Gradients at the optimum, by the envelope theorem: with P fixed,
//   d/dx_i = m_i sum_j p_ij dC_ij/dx_i,  p_ij = e_ij normalised over j,  m_i = a_i e^(-f_i/rho)
//   d/da_i = (rho + eps)(1 - e^(-f_i/rho)) + eps (mass b - 1), or f_i - eps (1 - mass b)
//   d/dC_ij = P_ij
// and the same of the self terms, whose two halves are equal. Also plans and their products.
// Included inside a target's namespace.

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
    label_sums(z, powers_of(exponents.rows()), mass.data(), x.measure.label, y.measure.label,
               op.labels, to);
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
  if (op.dx || op.dy) point_gradients(op, geometry, kept, upstream);
  if (op.dcost) cost_gradient(op, one, geometry, kept, upstream);
  if (op.dlabel_cost)
    label_gradient(op, geometry, kept, upstream, op.dlabel_cost.template as<double>());
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
  const Values<A> values(op.v, y.start * op.columns, y.n, op.columns);
  weighted_means(exponents.rows(), values, A(-1), [&](int64_t i, MeanRow, const A* means) {
    for (int64_t k = 0; k < op.columns; ++k)
      set_value(op.out, (x.start + i) * op.columns + k, x.weight[i] * means[k]);
  });
}
