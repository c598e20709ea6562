// Ways to the optimal potentials. Included inside a target's namespace.
//   balance     annealed Gauss-Seidel, then over-relaxation (Young 1954; for Sinkhorn Thibault et
//               al. 2017) with the factor that the observed rate of convergence calls for
//   symmetrise  f <- f + 2/3 (softmin f - f) for a measure and itself: steps of 1/2 (Feydy et al.
//               2019, sec. 3.1) multiply errors by (1 - t)/2, with t in [0, 1] an eigenvalue of
//               the plan, these by 1/3 - 2t/3, at most 1/3. Potentials are local: no annealing
//   follow      GeomLoss's: averaged steps of both sides at once, one for each of its epsilons

// Values of epsilon before the last one: the blur is halved each time.
inline std::vector<double> annealing(const Problem& op, const Instance& one, int64_t most) {
  std::vector<double> steps;
  const double ratio = static_cast<Cost>(op.kind) == Cost::half_square ? 4 : 2;
  const double first = one.scale;
  for (double e = first; e > op.epsilon && static_cast<int64_t>(steps.size()) < most; e /= ratio)
    steps.push_back(e);
  return steps;
}

// The factor of over-relaxation. Gauss-Seidel with rate t has its best factor at
// 2/(1 + sqrt(1 - t)). A run with factor w below that converges at a rate r > w - 1 from which
// t = (r + w - 1)^2/(r w^2) follows; above it at r = w - 1 whatever t is: then w is lowered.
class Relaxation {
 public:
  double omega() const { return 1 + over_; }
  void see(double error) {
    if (++age_ == kSettle) start_ = error;
    if (age_ < kSettle + window() || !(start_ > 0) || !(error > 0)) return;
    const double rate = std::pow(error / start_, 1.0 / window());
    age_ = 0;
    if (rate >= 1) {
      over_ /= 2;
    } else if (rate > over_) {
      const double t = (rate + over_) * (rate + over_) / (rate * omega() * omega());
      const double best = 2 / (1 + std::sqrt(1 - std::min(t, 1.0))) - 1;
      over_ = std::min(best, (1 + over_) / 2);
    } else {
      over_ = std::max(0.0, 1 - 1.5 * (1 - over_));
    }
  }

 private:
  static constexpr int kSettle = 3;
  // Long enough to tell the rate from its neighbours.
  int window() const {
    return over_ == 0 ? 2 : static_cast<int>(std::min(40.0, std::max(4.0, 0.7 / (1 - over_))));
  }
  double over_ = 0, start_ = 0;
  int age_ = 0;
};

// Notices that errors within the rounding no longer fall. Slow convergence looks like that too
// where the rounding is not well known.
class Stagnation {
 public:
  template <class F>
  bool see(double error, F&& noise) {
    if (error < 0.9 * best_) {
      best_ = error;
      idle_ = 0;
    } else {
      ++idle_;
    }
    return idle_ >= 40 && best_ < (idle_ < 400 ? 1 : 8) * noise();
  }

 private:
  double best_ = 1e300;
  int idle_ = 0;
};

// Ends at potentials (f, g) of which f is the exact (damped) softmin of g, so that the rows'
// marginals hold and the error is that of the columns; both softmins are those at (f, g).
// Potentials near the end need no annealing.
template <class A>
Outcome balance(const Problem& op, const Instance& one, Dual<A>& dual, bool anneal) {
  Outcome out;
  for (const double epsilon : annealing(op, one, anneal ? op.max_iterations - 1 : 0)) {
    dual.set_epsilon(epsilon);
    dual.in_turn(1);
    dual.relax(dual.y(), 1);
    ++out.iterations;
  }
  dual.set_epsilon(op.epsilon);
  Relaxation factor;
  Stagnation stagnation;
  bool landing = false, stuck = false;
  dual.remember();
  for (;;) {
    const bool last = ++out.iterations >= op.max_iterations || stuck;
    landing = landing || last;
    dual.translate();
    const auto [rows, columns] = dual.in_turn(landing ? 1 : factor.omega());
    if (!stuck && !(std::isfinite(rows.relative()) && std::isfinite(columns.relative()))) {
      dual.recall();
      stuck = true;
      continue;
    }
    if (landing && (last || columns.relative() <= op.tolerance)) {
      out.error = columns.relative();
      out.converged = out.error <= op.tolerance;
      out.value = dual.value_at_softmins();
      dual.land(false);
      return out;
    }
    dual.remember();
    stuck = stagnation.see(rows.relative(), [&] { return dual.noise(); });
    landing = rows.relative() <= op.tolerance;
    dual.relax(dual.y(), factor.omega());
    factor.see(rows.relative());
  }
}

template <class A>
Outcome symmetrise(const Problem& op, Dual<A>& dual) {
  Outcome out;
  Stagnation stagnation;
  bool stuck = false;
  dual.remember();
  for (;;) {
    ++out.iterations;
    out.error = dual.at_once().rows.relative();
    out.converged = out.error <= op.tolerance;
    if (!stuck && !std::isfinite(out.error)) {
      dual.recall();
      stuck = true;
      continue;
    }
    stuck = stuck || stagnation.see(out.error, [&] { return dual.noise(); });
    if (out.converged || stuck || out.iterations >= op.max_iterations) {
      out.value = dual.value_after_step();
      dual.land(false);
      return out;
    }
    dual.remember();
    dual.relax(dual.x(), 2.0 / 3);
  }
}

// GeomLoss's: the diameter's, a geometric sequence from it, the last.
inline double geomloss_epsilon(const Problem& op, const Instance& one, int64_t i, int64_t steps) {
  if (i == steps - 1) return op.epsilon;
  if (i == 0) return std::pow(one.diameter, op.power);
  return std::exp(op.power * std::log(one.diameter) +
                  static_cast<double>(i - 1) * (op.power * std::log(op.scaling)));
}

// Its value: where both marginals are relaxed rho + eps/2 times the rewards, which holds at the
// optimum for masses of 1, or debiased for any.
template <class A>
double geomloss_value(const Problem& op, const Dual<A>& dual, double mass) {
  if ((op.rho_a >= 0) != (op.rho_b >= 0))
    return dual.value(mass - dual.x().measure.mass * dual.y().measure.mass);
  const bool relaxed = op.rho_a >= 0;
  double sum = 0;
  for (const Side<A>* side : {&dual.x(), &dual.y()}) {
    double reward = 0;
    for (int64_t i = 0; i < side->n; ++i)
      reward += side->weight[i] * side->reward(side->potential[i]);
    sum += relaxed ? reward * (1 + op.epsilon / (2 * side->rho())) : reward;
  }
  return sum;
}

// Leaves in the potentials what the last softmins saw; `final` gets the damped softmins.
template <class A>
Outcome follow(const Problem& op, const Instance& one, Dual<A>& dual) {
  Outcome out;
  const bool symmetric = &dual.x() == &dual.y();
  const auto steps = static_cast<int64_t>(geomloss_steps(op, one.diameter));
  Marginals now;
  const auto step = [&](double omega) {
    now = dual.at_once();
    if (omega == 0) return;
    dual.relax(dual.x(), omega);
    if (!symmetric) dual.relax(dual.y(), omega);
  };
  dual.set_epsilon(geomloss_epsilon(op, one, 0, steps));
  step(1);
  for (int64_t i = 0; i < steps; ++i) {
    dual.set_epsilon(geomloss_epsilon(op, one, i, steps));
    step(0.5);
  }
  step(0);
  out.iterations = steps;
  out.error = std::max(now.rows.relative(), now.columns.relative());
  out.converged = out.error <= op.tolerance;
  dual.land(true);
  out.value = geomloss_value(op, dual, now.rows.mass);
  return out;
}
