// Plain alternating steps and what is behind them: see unroll.h. Included inside a target's
// namespace.

// Potentials of an earlier solve.
template <class A>
void start_from(const Solve& op, const Instance& one, const Dual<A>& dual) {
  for (int64_t i = 0; i < one.x.n; ++i)
    dual.x().potential[i] = value_of(op.init_f, one.x.start + i);
  for (int64_t j = 0; j < one.y.n; ++j)
    dual.y().potential[j] = value_of(op.init_g, one.y.start + j);
}

template <class A>
Outcome alternate(const Problem& op, Dual<A>& dual, const Steps& steps) {
  Outcome out;
  for (;;) {
    const int64_t t = out.iterations++;
    if (steps.count) std::copy_n(dual.y().potential, steps.m, steps.columns(t));
    out.error = dual.in_turn(1).columns.relative();
    if (steps.count) std::copy_n(dual.x().potential, steps.n, steps.rows(t));
    out.converged = out.error <= op.tolerance;
    if (out.converged || out.iterations >= op.max_iterations || !std::isfinite(out.error)) break;
    dual.relax(dual.y(), 1);
  }
  if (steps.count) *steps.count = static_cast<double>(out.iterations);
  out.value = dual.value_at_softmins();
  dual.land(false);
  return out;
}

// A half step's part of the derivative by C: alpha_i beta_j e^((row_i + column_j - C_ij)/epsilon),
// with potentials times factors.
struct Part {
  const double *row, *column;
  double row_factor, column_factor;
  const double *alpha, *beta;

  Part transposed() const { return {column, row, column_factor, row_factor, beta, alpha}; }
};

// k times potentials [i, i + count) less the shifts of the scores, nothing up to `padded`.
template <class A, class F>
void exponents_of(const double* from, double factor, A k, F&& shift, int64_t i, int64_t count,
                  int64_t padded, A* to) {
  const double unit = k;
  for (int64_t r = 0; r < count; ++r)
    to[r] = static_cast<A>(unit * (from[i + r] * factor - shift(i + r)));
  std::fill(to + count, to + padded, kNothing<A>);
}

// One half step's e_ij, and sums of it over either side.
template <class A>
class StepPowers {
 public:
  StepPowers(const Scores<A>& z, A k, const Part& part)
      : z_(z), k_(k), row_(round_up(z.rows, 8)), column_(z.padded()) {
    exponents_of(
        part.row, part.row_factor, k, [&](int64_t i) { return z.row_shift(i); }, 0, z.rows,
        round_up(z.rows, 8), row_.data());
    exponents_of(
        part.column, part.column_factor, k, [&](int64_t j) { return z.column_shift(j); }, 0,
        z.columns, z.padded(), column_.data());
  }
  // to_j = sum over i of weight_i e_ij
  void sum_rows(const double* weight, double* to) const {
    constexpr int64_t kStrip = 64;
    const Scratch<A> own(z_.rows);
    for (int64_t i = 0; i < z_.rows; ++i) own[i] = static_cast<A>(weight[i]);
    parallel_for((z_.padded() + kStrip - 1) / kStrip, 1, [&](int64_t begin, int64_t end) {
      alignas(64) A buffer[kRowBlock * kColumnTile], e[kRowBlock * kStrip], part[kStrip];
      for (int64_t j = begin * kStrip; j < std::min(end * kStrip, z_.padded()); j += kStrip) {
        const int64_t width = std::min(kStrip, z_.padded() - j);
        const int64_t real = std::min(width, z_.columns - j);
        std::fill_n(to + j, std::max<int64_t>(0, real), 0.0);
        for (int64_t i = 0; i < z_.rows; i += kRowBlock) {
          const int64_t count = std::min(kRowBlock, z_.rows - i);
          powers(rows(), i, count, j, width, z_.tile(i, count, j, width, buffer), e, kStrip);
          std::fill_n(part, width, A{0});
          add_weighted_rows(e, kStrip, count, own.data() + i, width, part);
          for (int64_t c = 0; c < real; ++c) to[j + c] += part[c];
        }
      }
    });
  }
  // to_i = sum over j of weight_j e_ij
  void sum_columns(const double* weight, double* to) const {
    const Scratch<A> own(z_.padded());
    for (int64_t j = 0; j < z_.columns; ++j) own[j] = static_cast<A>(weight[j]);
    std::fill(own.data() + z_.columns, own.data() + z_.padded(), A{0});
    parallel_for((z_.rows + kRowBlock - 1) / kRowBlock, 1, [&](int64_t begin, int64_t end) {
      alignas(64) A buffer[kRowBlock * kColumnTile], e[kRowBlock * kColumnTile];
      for (int64_t i = begin * kRowBlock; i < std::min(end * kRowBlock, z_.rows); i += kRowBlock) {
        const int64_t count = std::min(kRowBlock, z_.rows - i);
        std::fill_n(to + i, count, 0.0);
        for (int64_t j = 0; j < z_.padded(); j += kColumnTile) {
          const int64_t width = std::min(kColumnTile, z_.padded() - j);
          const Tile<A> t = z_.tile(i, count, j, width, buffer);
          powers(rows(), i, count, j, width, t, e, kColumnTile);
          for (int64_t r = 0; r < count; ++r) {
            vector_t<A> sum{};
            for (int64_t c = 0; c < width; c += kLanes<A>)
              sum = fma(load(e + r * kColumnTile + c), load(own.data() + j + c), sum);
            to[i + r] += reduce_add(sum);
          }
        }
      }
    });
  }

 private:
  Rows<A> rows() const { return {z_, k_, row_.data(), column_.data()}; }

  const Scores<A>& z_;
  const A k_;
  const Scratch<A> row_, column_;
};

// What a side's potential adds to the dual per unit of weight, and its slope.
inline double reward_of(const Measure& m, double f) {
  return m.rho >= 0 ? -m.rho * std::expm1(-f / m.rho) : f;
}
inline double share_of(const Measure& m, double f) { return m.rho >= 0 ? std::exp(-f / m.rho) : 1; }

// From the end of a term's steps to their start.
template <class A>
class Reverse {
 public:
  Reverse(const Problem& op, const Scores<A>& z, const Measure& x, const Measure& y,
          const Steps& steps)
      : z_(z),
        x_(x),
        y_(y),
        steps_(steps),
        count_(static_cast<int64_t>(*steps.count)),
        epsilon_(op.epsilon),
        damp_x_(x.rho >= 0 ? 1 / (1 + op.epsilon / x.rho) : 1),
        damp_y_(y.rho >= 0 ? 1 / (1 + op.epsilon / y.rho) : 1),
        slopes_(count_ * (x.n + y.n)),
        phi_(x.n),
        gamma_(y.n),
        da(x.n),
        db(y.n) {
    std::fill_n(phi_.data(), x.n, 0.0);
    std::fill_n(gamma_.data(), y.n, 0.0);
    std::fill_n(da.data(), x.n, 0.0);
    std::fill_n(db.data(), y.n, 0.0);
  }
  // Derivatives of the value, and of the potentials themselves, from where the steps ended.
  void see_value(double upstream) {
    const double *f = steps_.rows(count_ - 1), *g = steps_.columns(count_ - 1);
    for (int64_t i = 0; i < x_.n; ++i) {
      const double share = share_of(x_, f[i]);
      phi_[i] += upstream * x_.weight[i] * share / damp_x_;
      da[i] += upstream * (reward_of(x_, f[i]) - epsilon_ * (share - y_.mass));
    }
    for (int64_t j = 0; j < y_.n; ++j) {
      gamma_[j] += upstream * y_.weight[j] * share_of(y_, g[j]);
      db[j] += upstream * (reward_of(y_, g[j]) + epsilon_ * x_.mass);
    }
  }
  void see_potentials(const View& f, const View& g) {
    for (int64_t i = 0; f && i < x_.n; ++i) phi_[i] += value_of(f, x_.start + i);
    for (int64_t j = 0; g && j < y_.n; ++j) gamma_[j] += value_of(g, y_.start + j);
  }
  void run() {
    const A k = static_cast<A>(1.4426950408889634 / epsilon_);
    const Scratch<double> sum(std::max(x_.n, y_.n));
    for (int64_t t = count_ - 1;; --t) {
      double* const alpha = slope(t);
      for (int64_t i = 0; i < x_.n; ++i) alpha[i] = phi_[i] * damp_x_;
      StepPowers<A>(z_, k, of_rows(t)).sum_rows(alpha, sum.data());
      for (int64_t j = 0; j < y_.n; ++j) {
        if (y_.weight[j] > 0) gamma_[j] -= y_.weight[j] * sum[j];
        db[j] -= epsilon_ * sum[j];
      }
      if (t == 0) return;
      double* const beta = slope(t) + x_.n;
      for (int64_t j = 0; j < y_.n; ++j) beta[j] = gamma_[j] * damp_y_;
      StepPowers<A>(z_, k, of_columns(t)).sum_columns(beta, sum.data());
      for (int64_t i = 0; i < x_.n; ++i) {
        phi_[i] = x_.weight[i] > 0 ? -x_.weight[i] * sum[i] : 0;
        da[i] -= epsilon_ * sum[i];
      }
      std::fill_n(gamma_.data(), y_.n, 0.0);
    }
  }
  // After run(): of the derivative by C, or by its transpose, or both.
  void add_parts(bool plain, bool transposed, std::vector<Part>* to) const {
    const auto add = [&](const Part& part) {
      if (plain) to->push_back(part);
      if (transposed) to->push_back(part.transposed());
    };
    for (int64_t t = 0; t < count_; ++t) {
      add(of_rows(t));
      if (t > 0) add(of_columns(t));
    }
  }

 private:
  double* slope(int64_t t) const { return slopes_.data() + t * (x_.n + y_.n); }
  // The softmins that gave the rows' potentials of step t, or the columns' that it saw (t > 0).
  Part of_rows(int64_t t) const {
    return {steps_.rows(t), steps_.columns(t), 1 / damp_x_, 1, slope(t), y_.weight};
  }
  Part of_columns(int64_t t) const {
    return {steps_.rows(t - 1), steps_.columns(t), 1, 1 / damp_y_, x_.weight, slope(t) + x_.n};
  }

  const Scores<A>& z_;
  const Measure &x_, &y_;
  const Steps& steps_;
  const int64_t count_;
  const double epsilon_, damp_x_, damp_y_;
  const Scratch<double> slopes_, phi_, gamma_;

 public:
  const Scratch<double> da, db;
};
