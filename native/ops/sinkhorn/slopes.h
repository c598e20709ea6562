// Gradients through recorded steps: the derivative by C by tiles, G_ij = sum over the half steps of
// alpha_i beta_j e_ij (steps.h), and what becomes of it. Included inside a target's namespace.

template <class A>
class Slopes {
 public:
  Slopes(const Scores<A>& z, double epsilon, std::vector<Part> parts)
      : z_(z), k_(static_cast<A>(1.4426950408889634 / epsilon)), parts_(std::move(parts)) {}

  const Scores<A>& z() const { return z_; }
  // G of a tile of scores, rows kColumnTile apart.
  void tile(Tile<A> t, int64_t i, int64_t count, int64_t j, int64_t width, A* to) const {
    using V = vector_t<A>;
    alignas(64) A row[kRowBlock], column[kColumnTile], beta[kColumnTile];
    const int64_t real = std::min(width, z_.columns - j);
    const V scale = splat(k_ * z_.sign());
    for (int64_t r = 0; r < count; ++r) std::fill_n(to + r * kColumnTile, width, A{0});
    for (const Part& part : parts_) {
      exponents_of(
          part.row, part.row_factor, k_, [&](int64_t p) { return z_.row_shift(p); }, i, count,
          count, row);
      exponents_of(
          part.column, part.column_factor, k_, [&](int64_t p) { return z_.column_shift(p); }, j,
          real, width, column);
      for (int64_t c = 0; c < width; ++c)
        beta[c] = c < real ? static_cast<A>(part.beta[j + c]) : A{0};
      for (int64_t r = 0; r < count; ++r) {
        const V own = splat(row[r]), alpha = splat(static_cast<A>(part.alpha[i + r]));
        const A* z = t.z + r * t.ld;
        A* g = to + r * kColumnTile;
        for (int64_t c = 0; c < width; c += kLanes<A>) {
          const V e = power_of_two(fma(scale, load(z + c), load(column + c) + own));
          store(g + c, fma(e, alpha * load(beta + c), load(g + c)));
        }
      }
    }
  }

 private:
  const Scores<A>& z_;
  const A k_;
  const std::vector<Part> parts_;
};

template <class A>
void add_point_slopes(const Problem& op, const Slopes<A>& slopes, double* to) {
  const Scores<A>& z = slopes.z();
  const Cloud<A>&x = z.x(), &y = z.y();
  const bool is_distance = static_cast<Cost>(op.kind) == Cost::distance;
  const bool is_cosine = static_cast<Cost>(op.kind) == Cost::cosine;
  const auto fill = [&](Tile<A> t, int64_t i, int64_t count, int64_t j, int64_t width, A* e,
                        double*, double* sum) {
    slopes.tile(t, i, count, j, width, e);
    if (!is_distance) return add_sums(e, kColumnTile, count, width, sum);
    alignas(64) A buffer[kRowBlock * kColumnTile];
    const Tile<A> distances = z.distances(i, count, j, width, t, buffer);
    divide_by_distance(distances, count, width, A(0), e, kColumnTile, sum);
  };
  const Values<A> values(y.row(0), y.n, y.depth);
  each_product(z, values, fill, [&](int64_t i, double, double sum, const A* means) {
    const double pull = is_cosine ? 0 : sum;
    for (int64_t k = 0; k < x.depth; ++k)
      to[i * x.depth + k] += pull * x.row(i)[k] - static_cast<double>(means[k]);
  });
}

template <class A>
void add_label_slopes(const Problem& op, const Slopes<A>& slopes, double factor, double* to) {
  const Scores<A>& z = slopes.z();
  const Scratch<double> mass(z.rows);
  std::fill_n(mass.data(), z.rows, factor);
  const auto fill = [&](Tile<A> t, int64_t i, int64_t count, int64_t j, int64_t width, A* e) {
    slopes.tile(t, i, count, j, width, e);
  };
  label_sums(z, fill, mass.data(), z.x().measure.label, z.y().measure.label, op.labels, to);
}

template <class A>
void write_cost_slopes(const Gradients& op, const Instance& one, const Slopes<A>& slopes) {
  const int64_t start = one.index * one.x.n * one.y.n;
  const auto fill = [&](Tile<A> t, int64_t i, int64_t count, int64_t j, int64_t width, A* e) {
    slopes.tile(t, i, count, j, width, e);
  };
  each_tile_of(slopes.z(), fill, [&](int64_t i, int64_t j, int64_t count, const A* g) {
    for (int64_t c = 0; c < count; ++c) set_value(op.dcost, start + i * one.y.n + j + c, g[c]);
  });
}

// Sums of one problem's gradients, each null unless wanted.
struct Sums {
  double *dx, *dy, *da, *db;
};

inline void add_to(double* to, const Scratch<double>& from, int64_t n) {
  for (int64_t i = 0; to && i < n; ++i) to[i] += from[i];
}

template <class A>
void cross_slopes(const UnrollBackward& op, const Instance& one, const Geometry<A>& geometry,
                  const Steps& steps, const Sums& sums) {
  const auto z = geometry.cross();
  Reverse<A> reverse(op, *z, one.x, one.y, steps);
  if (op.upstream) reverse.see_value(value_of(op.upstream, one.index));
  reverse.see_potentials(op.upstream_f, op.upstream_g);
  reverse.run();
  add_to(sums.da, reverse.da, one.x.n);
  add_to(sums.db, reverse.db, one.y.n);
  std::vector<Part> parts, across;
  reverse.add_parts(true, false, &parts);
  reverse.add_parts(false, true, &across);
  const Slopes<A> slopes(*z, op.epsilon, std::move(parts));
  if (op.dcost) write_cost_slopes(op, one, slopes);
  if (sums.dx) add_point_slopes(op, slopes, sums.dx);
  if (op.dlabel_cost) add_label_slopes(op, slopes, 1, op.dlabel_cost.template as<double>());
  if (!sums.dy) return;
  const auto turned = geometry.transposed(false);
  add_point_slopes(op, Slopes<A>(*turned, op.epsilon, std::move(across)), sums.dy);
}

// Of minus half the value of a measure with itself, C_ij and C_ji being one.
template <class A>
void self_slopes(const UnrollBackward& op, const Geometry<A>& geometry, const Cloud<A>& cloud,
                 const Steps& steps, double upstream, double* points, double* weights) {
  const auto z = geometry.self(cloud, true, false);
  Reverse<A> reverse(op, *z, cloud.measure, cloud.measure, steps);
  reverse.see_value(-upstream / 2);
  reverse.run();
  add_to(weights, reverse.da, cloud.n);
  add_to(weights, reverse.db, cloud.n);
  std::vector<Part> parts;
  reverse.add_parts(true, true, &parts);
  const Slopes<A> slopes(*z, op.epsilon, std::move(parts));
  if (points) add_point_slopes(op, slopes, points);
  if (op.dlabel_cost) add_label_slopes(op, slopes, 0.5, op.dlabel_cost.template as<double>());
}

// Without reach the gradient's weighted mean is taken away.
inline void write_weights(const Problem& op, const Measure& m, double more, double* slope,
                          const View& to) {
  double mean = 0;
  for (int64_t i = 0; i < m.n; ++i) mean += m.weight[i] * (slope[i] + more);
  mean = op.rho_a < 0 && op.rho_b < 0 ? mean / m.mass : 0;
  for (int64_t i = 0; i < m.n; ++i) set_value(to, m.start + i, slope[i] + more - mean);
}

template <class A>
void unroll_backward_as(const UnrollBackward& op, const Instance& one, int64_t workspace,
                        const TermSteps& steps) {
  const Measure &x = one.x, &y = one.y;
  const double upstream = op.upstream ? value_of(op.upstream, one.index) : 0;
  const int64_t size[] = {op.dx ? x.n * op.width : 0, op.dy ? y.n * op.width : 0, op.da ? x.n : 0,
                          op.db ? y.n : 0};
  const Scratch<double> all(size[0] + size[1] + size[2] + size[3]);
  double* part[4];
  int64_t at = 0;
  for (int s = 0; s < 4; at += size[s++]) part[s] = size[s] ? all.data() + at : nullptr;
  std::fill_n(all.data(), at, 0.0);
  const Geometry<A> geometry(op, one, workspace);
  cross_slopes(op, one, geometry, steps.cross, {part[0], part[1], part[2], part[3]});
  double more = 0;
  if (op.debias) {
    self_slopes(op, geometry, geometry.x(), steps.xx, upstream, part[0], part[2]);
    self_slopes(op, geometry, geometry.y(), steps.yy, upstream, part[1], part[3]);
    more = upstream * op.epsilon * (x.mass - y.mass);
  }
  const auto write = [&](const Measure& m, double* sum, const View& to) {
    if (static_cast<Cost>(op.kind) == Cost::cosine) project(m.points, m.start, m.n, op.width, sum);
    for (int64_t i = 0; i < m.n * op.width; ++i) set_value(to, m.start * op.width + i, sum[i]);
  };
  if (op.dx) write(x, part[0], op.dx);
  if (op.dy) write(y, part[1], op.dy);
  if (op.da) write_weights(op, x, more, part[2], op.da);
  if (op.db) write_weights(op, y, -more, part[3], op.db);
}
