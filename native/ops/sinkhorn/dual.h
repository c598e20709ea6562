// The two sides of a dual problem and its half steps. Included inside a target's namespace.

struct Marginals {
  Marginal rows, columns;
};

template <class A>
class Dual {
 public:
  // A symmetric problem has x as both sides. Costs differ by about `scale`.
  Dual(const Scores<A>& z, Side<A>& x, Side<A>& y, double epsilon, double scale)
      : z_(z),
        x_(x),
        y_(y),
        scale_(scale),
        plain_(x.has_plain_weights() && y.has_plain_weights()),
        sweep_(z, &x == &y) {
    for (int64_t i = 0; i < x.n; ++i) x.shift[i] = z.row_shift(i);
    for (int64_t j = 0; j < y.n; ++j) y.shift[j] = z.column_shift(j);
    set_epsilon(epsilon);
  }

  void set_epsilon(double epsilon) {
    epsilon_ = epsilon;
    k_ = static_cast<A>(1.4426950408889634 / epsilon);
    // Where the plan's exponents are rounded: shifts and products must see the same number.
    unit_ = static_cast<double>(k_);
    weak_ = is_weak(scale_, epsilon);
  }

  // Softmins at x, which then moves by omega towards them, and at y of the moved x.
  Marginals in_turn(double omega) {
    if (!plain_ || weak_) {
      const Marginal rows = step_x();
      relax(x_, omega);
      return {rows, step_y()};
    }
    prepare_sweep(x_, unit_);
    prepare_sweep(y_, unit_);
    sweep_.run(input(), [&](int64_t i, int64_t count, A* own, const double* sum, A* w, auto&&...) {
      return advance(i, count, omega, own, sum, w);
    });
    const bool fine = settle_columns();
    return {total(x_), fine ? total(y_) : step_y()};
  }
  // Softmins at x and at y, both as they are.
  Marginals at_once() {
    if (plain_ && !weak_) {
      prepare_sweep(x_, unit_);
      if (!symmetric()) prepare_sweep(y_, unit_);
      std::atomic<bool> fine{true};
      sweep_.run(input(), [&](int64_t i, int64_t count, A*, const double* sum, A* w, auto&&...) {
        std::copy_n(x_.counted + i, round_up(count, 8), w);
        if (symmetric()) {
          std::copy_n(sum, count, x_.error + i);
        } else if (!settle(x_, unit_, i, count, sum)) {
          fine = false;
        }
        return true;
      });
      const bool columns = settle_columns();
      if (symmetric() && columns) return {total(x_), total(x_)};
      if (!symmetric()) return {fine ? total(x_) : step_x(), columns ? total(y_) : step_y()};
    }
    const Marginal rows = step_x();
    return {rows, symmetric() ? rows : step_y()};
  }
  // f <- f + omega (damped softmin - f)
  void relax(Side<A>& side, double omega) const {
    const double damp = side.damp(epsilon_);
    for (int64_t i = 0; i < side.padded; i += kLanes<double>) {
      const F64 f = load(side.potential + i);
      store(side.potential + i, f + (load(side.softmin + i) * damp - f) * omega);
    }
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
  // Potentials to go back to where a step leaves the finite numbers. Their place is free until the
  // end.
  void remember() const {
    for (Side<A>* side : {&x_, &y_}) std::copy_n(side->potential, side->n, side->seen);
  }
  void recall() const {
    for (Side<A>* side : {&x_, &y_}) std::copy_n(side->seen, side->n, side->potential);
  }
  // After the last softmins: the potentials are what these saw, or become the softmins.
  void land(bool on_softmins) {
    for (Side<A>* side : {&x_, &y_}) {
      std::copy_n(side->potential, side->n, side->seen);
      if (&x_ == &y_) break;
    }
    if (!on_softmins) return;
    relax(x_, 1);
    if (&x_ != &y_) relax(y_, 1);
  }
  // The value of the dual, given the mass of the plan less that of the product of the measures:
  // epsilon would multiply the rounding of either.
  double value(double excess) const {
    double sum = 0;
    for (const Side<A>* side : {&x_, &y_})
      for (int64_t i = 0; i < side->n; ++i)
        sum += side->weight[i] * side->reward(side->potential[i]);
    return sum - epsilon_ * excess;
  }
  // That where x's potentials are the (damped) softmins: its marginal is as they say.
  double value_at_softmins() const {
    double more = 0;
    for (int64_t i = 0; x_.relaxed() && i < x_.n; ++i)
      more += x_.weight[i] * std::expm1(-x_.potential[i] / x_.rho());
    return value(more + x_.measure.mass * (1 - y_.measure.mass));
  }
  // Of a symmetric problem at (softmin f, f), where it is larger than at (f, f).
  double value_after_step() const {
    const double damp = x_.damp(epsilon_);
    double sum = 0, more = x_.measure.mass * (1 - x_.measure.mass);
    for (int64_t i = 0; i < x_.n; ++i) {
      const double w = x_.weight[i], f = damp * x_.softmin[i];
      sum += w * (x_.reward(f) + x_.reward(x_.potential[i]));
      if (x_.relaxed()) more += w * std::expm1(-f / x_.rho());
    }
    return sum - epsilon_ * more;
  }
  // Errors below this may be rounding.
  double noise() const {
    double size = 0;
    for (const Side<A>* side : {&x_, &y_})
      for (int64_t i = 0; i < side->n; ++i) size = std::max(size, std::fabs(side->potential[i]));
    return 2 * double(std::numeric_limits<A>::epsilon()) * (1 + unit_ * size);
  }
  Side<A>& x() const { return x_; }
  Side<A>& y() const { return y_; }

 private:
  bool symmetric() const { return &x_ == &y_; }
  typename Sweep<A>::Input input() const { return {k_, x_.guess, y_.guess, y_.counted}; }

  // Of a block of rows in a sweep: see Sweep::run.
  bool advance(int64_t i, int64_t count, double omega, A* own, const double* sum, A* w) const {
    constexpr double kFar = 40;  // powers of 2 by which E may be off its new place
    const double damp = x_.damp(epsilon_);
    bool again = !settle(x_, unit_, i, count, sum);
    if (again) {
      double softmin[kRowBlock];
      Scratch<A> other(z_.padded());
      weigh(y_, other.data());
      alignas(64) A buffer[kRowBlock * kColumnTile];
      RowPass<A>(z_, k_, x_.guess, other.data()).block(i, count, buffer, softmin);
      for (int64_t r = 0; r < count; ++r) finish(x_, i + r, softmin[r]);
    }
    I64 far{};
    for (int64_t r = 0; r < count; r += kLanes<double>) {
      const F64 old = load(x_.potential + i + r);
      const F64 f = old + (load(x_.softmin + i + r) * damp - old) * omega;
      store(x_.potential + i + r, f);
      const F64 moved = (f - load(x_.shift + i + r)) * unit_ - load_as_double(own + r);
      far = far | ~(abs(moved) < kFar);
      store_as(w + r, load(x_.weight + i + r) * power_of_two(moved));
    }
    again = again || any(far);
    for (int64_t r = 0; again && r < count; r += kLanes<double>) {
      const F64 f = (load(x_.potential + i + r) - load(x_.shift + i + r)) * unit_;
      store_as(own + r, f);
      store_as(w + r, load(x_.weight + i + r) * power_of_two(f - load_as_double(own + r)));
    }
    return !again;
  }
  // The softmins at y from the columns' sums; false where a sum is out of range.
  bool settle_columns() const {
    constexpr int64_t kStrip = Sweep<A>::kStrip;
    std::atomic<bool> fine{true};
    parallel_for((y_.n + kStrip - 1) / kStrip, 1, [&](int64_t begin, int64_t end) {
      alignas(64) double sum[kStrip];
      for (int64_t j = begin * kStrip; j < std::min(end * kStrip, y_.n); j += kStrip) {
        const int64_t count = std::min(kStrip, y_.n - j);
        sweep_.column_sums(j, std::min(kStrip, z_.padded() - j), sum);
        for (int64_t c = 0; symmetric() && c < count; ++c) sum[c] += x_.error[j + c];
        for (int64_t c = count; c < std::min(kStrip, z_.padded() - j); ++c) sum[c] = 1;
        if (!settle(y_, unit_, j, count, sum)) fine = false;
      }
    });
    return fine;
  }

  // The same by two passes that find the largest power first where they must.
  Marginal step_x() {
    if (weak_) {
      row_excess(z_, epsilon_, x_, y_, x_.softmin);
      return finish_weak(x_);
    }
    weigh(y_, y_.counted);
    guess(x_);
    RowPass<A>(z_, k_, x_.guess, y_.counted).run([&](int64_t i, double softmin) {
      finish(x_, i, softmin);
    });
    return total(x_);
  }
  Marginal step_y() {
    if (weak_) {
      column_excess(z_, epsilon_, x_, y_, y_.softmin);
      return finish_weak(y_);
    }
    weigh(x_, x_.counted);
    guess(y_);
    ColumnPass<A>(z_, k_, y_.guess, x_.counted).run([&](int64_t j, double softmin) {
      finish(y_, j, softmin);
    });
    return total(y_);
  }
  void guess(Side<A>& side) const {
    for (int64_t i = 0; i < side.n; ++i)
      side.guess[i] = static_cast<A>(unit_ * (side.potential[i] - side.shift[i]));
  }
  // Guesses and the logarithms of weights.
  void weigh(const Side<A>& side, A* to) const {
    for (int64_t i = 0; i < round_up(side.n, kTileCols<A>); ++i) {
      const bool none = i >= side.n || std::isinf(side.log_weight[i]);
      to[i] =
          none ? kNothing<A>
               : static_cast<A>(unit_ * (side.potential[i] - side.shift[i]) + side.log_weight[i]);
    }
  }
  void finish(Side<A>& side, int64_t i, double softmin) const {
    const double f = side.potential[i], w = side.weight[i];
    side.softmin[i] = softmin / unit_ + side.shift[i];
    const double share = std::exp2(unit_ * (f - side.softmin[i]));
    side.error[i] = w > 0 ? w * std::fabs(share - side.marginal(f)) : 0;
    side.mass[i] = w > 0 ? w * share : 0;
  }
  // Of excesses in place of the softmins.
  Marginal finish_weak(Side<A>& side) const {
    for (int64_t i = 0; i < side.n; ++i) {
      const double f = side.potential[i], w = side.weight[i], excess = side.softmin[i];
      side.softmin[i] = f - epsilon_ * std::log1p(excess);
      const double wanted = side.relaxed() ? std::expm1(-f / side.rho()) : 0;
      side.error[i] = w > 0 ? w * std::fabs(excess - wanted) : 0;
      side.mass[i] = w > 0 ? w * (1 + excess) : 0;
    }
    return total(side);
  }
  static double total_marginal(const Side<A>& side) {
    F64 sum{};
    for (int64_t i = 0; i < side.padded; i += kLanes<double>)
      sum = sum + load(side.weight + i) * side.marginal(load(side.potential + i));
    return reduce_add(sum);
  }

  const Scores<A>& z_;
  Side<A>&x_, &y_;
  const double scale_;
  const bool plain_;
  const Sweep<A> sweep_;
  double epsilon_ = 0, unit_ = 0;
  A k_ = 0;
  bool weak_ = false;
};
