// The two sides of a dual problem and its half steps. Included inside a target's namespace.

// Of the points of one side; potentials and softmins in the units of the cost.
template <class A>
struct Side {
  Side(const Measure& measure, int64_t n)
      : measure(measure),
        n(n),
        padded(round_up(n, kTileCols<A>)),
        potential(n),
        seen(n),
        softmin(n),
        log_weight(n),
        error(n),
        mass(n),
        guess(padded),
        weighted(padded) {
    for (int64_t i = 0; i < n; ++i) log_weight[i] = std::log2(measure.weight[i]);
    std::fill_n(potential.data(), n, 0.0);
    std::fill_n(softmin.data(), n, 0.0);
    std::fill_n(guess.data(), padded, A{0});
    std::fill_n(weighted.data(), padded, kNothing<A>);
  }
  double rho() const { return measure.rho; }
  bool relaxed() const { return measure.rho >= 0; }
  double damp(double epsilon) const { return relaxed() ? 1 / (1 + epsilon / rho()) : 1; }
  // What the marginal is of the weight where the potential is optimal: e^(-f/rho).
  double marginal(double f) const { return relaxed() ? std::exp(-f / rho()) : 1; }
  // The potential's part of the dual: rho (1 - e^(-f/rho)), or f.
  double reward(double f) const { return relaxed() ? -rho() * std::expm1(-f / rho()) : f; }

  const Measure& measure;
  const int64_t n, padded;
  Scratch<double> potential;  // f
  Scratch<double> seen;       // f when the other side's softmin was taken
  Scratch<double> softmin;    // balanced, at the other side's potential
  Scratch<double> log_weight;
  Scratch<double> error, mass;  // per point
  Scratch<A> guess, weighted;   // f in log2 units; the same plus the log of the weight
};

// Before a step: how far this side's marginal is from where it belongs (L1), and the plan's mass.
struct Marginal {
  double error = 0, mass = 0;
  double wanted = 0;  // the weights', or the plan's where the marginal is relaxed
  double relative() const { return error <= 0 ? 0 : error / wanted; }
};

template <class A>
class Dual {
 public:
  // A symmetric problem has x as both sides.
  Dual(const Scores<A>& z, Side<A>& x, Side<A>& y, double epsilon) : z_(z), x_(x), y_(y) {
    set_epsilon(epsilon);
  }

  void set_epsilon(double epsilon) {
    epsilon_ = epsilon;
    k_ = static_cast<A>(1.4426950408889634 / epsilon);
    // Where the plan's exponents are rounded: shifts and products must see the same number.
    unit_ = static_cast<double>(k_);
  }
  double epsilon() const { return epsilon_; }
  void forget() { fresh_x_ = fresh_y_ = true; }

  // Softmin of the potential of y at every point of x.
  Marginal step_x() {
    const auto shift = [&](int64_t i) { return z_.row_shift(i); };
    weigh(y_, [&](int64_t j) { return z_.column_shift(j); });
    guess(x_, shift);
    RowPass<A>(z_, k_, x_.guess.data(), y_.weighted.data(), fresh_x_).run(finish(x_, shift));
    fresh_x_ = false;
    return total(x_);
  }
  Marginal step_y() {
    const auto shift = [&](int64_t j) { return z_.column_shift(j); };
    weigh(x_, [&](int64_t i) { return z_.row_shift(i); });
    guess(y_, shift);
    ColumnPass<A>(z_, k_, y_.guess.data(), x_.weighted.data(), fresh_y_).run(finish(y_, shift));
    fresh_y_ = false;
    return total(y_);
  }
  // f <- f + omega (damped softmin - f)
  void relax(Side<A>& side, double omega) const {
    const double damp = side.damp(epsilon_);
    for (int64_t i = 0; i < side.n; ++i)
      side.potential[i] += omega * (damp * side.softmin[i] - side.potential[i]);
  }
  // The best (f + c, g - c): the one direction in which relaxed marginals make steps slow
  // (Sejourne et al. 2022, sec. 2).
  void translate() {
    if (!x_.relaxed() && !y_.relaxed()) return;
    const double a = total_marginal(x_), b = total_marginal(y_);
    if (!(a > 0) || !(b > 0) || !std::isfinite(a) || !std::isfinite(b)) return;
    const double inverse = (x_.relaxed() ? 1 / x_.rho() : 0) + (y_.relaxed() ? 1 / y_.rho() : 0);
    const double c = std::log(a / b) / inverse;
    for (int64_t i = 0; i < x_.n; ++i) x_.potential[i] += c;
    for (int64_t j = 0; j < y_.n; ++j) y_.potential[j] -= c;
  }
  // After the last softmins: the potentials are what these saw, or become the softmins.
  void land(bool on_softmins) {
    for (Side<A>* side : {&x_, &y_}) {
      std::copy_n(side->potential.data(), side->n, side->seen.data());
      if (&x_ == &y_) break;
    }
    if (!on_softmins) return;
    relax(x_, 1);
    if (&x_ != &y_) relax(y_, 1);
  }
  // The value of the dual, given the mass of the plan.
  double value(double mass) const {
    double sum = 0;
    for (const Side<A>* side : {&x_, &y_})
      for (int64_t i = 0; i < side->n; ++i)
        sum += side->measure.weight[i] * side->reward(side->potential[i]);
    return sum - epsilon_ * (mass - x_.measure.mass * y_.measure.mass);
  }
  // Of a symmetric problem at (softmin f, f), where it is larger than at (f, f).
  double value_after_step() const {
    const double damp = x_.damp(epsilon_);
    double sum = 0, mass = 0;
    for (int64_t i = 0; i < x_.n; ++i) {
      const double w = x_.measure.weight[i], f = damp * x_.softmin[i];
      sum += w * (x_.reward(f) + x_.reward(x_.potential[i]));
      mass += w * x_.marginal(f);
    }
    return sum - epsilon_ * (mass - x_.measure.mass * x_.measure.mass);
  }
  // Errors below this are rounding.
  double noise() const {
    double size = 0;
    for (const Side<A>* side : {&x_, &y_})
      for (int64_t i = 0; i < side->n; ++i) size = std::max(size, std::fabs(side->potential[i]));
    return 16 * double(std::numeric_limits<A>::epsilon()) * (1 + unit_ * size);
  }
  Side<A>& x() const { return x_; }
  Side<A>& y() const { return y_; }

 private:
  template <class Shift>
  void guess(Side<A>& side, Shift&& shift) const {
    for (int64_t i = 0; i < side.n; ++i)
      side.guess[i] = static_cast<A>(unit_ * (side.potential[i] - shift(i)));
  }
  template <class Shift>
  void weigh(Side<A>& side, Shift&& shift) const {
    for (int64_t i = 0; i < side.n; ++i) {
      const double log = side.log_weight[i];
      side.weighted[i] = std::isinf(log)
                             ? kNothing<A>
                             : static_cast<A>(unit_ * (side.potential[i] - shift(i)) + log);
    }
  }
  template <class Shift>
  auto finish(Side<A>& side, Shift shift) const {
    return [this, &side, shift](int64_t i, double softmin) {
      const double f = side.potential[i], w = side.measure.weight[i];
      side.softmin[i] = softmin / unit_ + shift(i);
      const double share = std::exp2(unit_ * (f - side.softmin[i]));
      side.error[i] = w > 0 ? w * std::fabs(share - side.marginal(f)) : 0;
      side.mass[i] = w > 0 ? w * share : 0;
    };
  }
  static double total_marginal(const Side<A>& side) {
    double sum = 0;
    for (int64_t i = 0; i < side.n; ++i)
      sum += side.measure.weight[i] * side.marginal(side.potential[i]);
    return sum;
  }
  static Marginal total(const Side<A>& side) {
    Marginal sum;
    for (int64_t i = 0; i < side.n; ++i) {
      sum.error += side.error[i];
      sum.mass += side.mass[i];
    }
    sum.wanted = side.relaxed() ? sum.mass : side.measure.mass;
    return sum;
  }

  const Scores<A>& z_;
  Side<A>&x_, &y_;
  double epsilon_ = 0, unit_ = 0;
  A k_ = 0;
  bool fresh_x_ = true, fresh_y_ = true;
};
