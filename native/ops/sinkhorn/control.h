// What follows from a half step's marginals: the next epsilon, the factor of over-relaxation, the
// end. The CPU's iterate.h as a machine that is told of one half step at a time; every block of a
// team runs its own, on the same numbers.
#pragma once
#include <cmath>
#include <cstdint>

#include "core/portable.h"
#include "ops/sinkhorn/op.h"

namespace surprisal::sinkhorn {

enum class Way : int32_t { balance, symmetrise, follow };

// After a half step: sides [from, to) get f <- f + omega (damped softmin - f) at `epsilon`; the
// steps that come use `next`.
struct Decision {
  double epsilon = 0, next = 0, omega = 1;
  int32_t from = 0, to = 0, done = 0, final = 0;  // final: annealing is over
};

// The error of a side's marginal relative to where it belongs, and the mass of the plan.
struct Halfway {
  double error = 0, mass = 0, most = 0;  // most: largest potential
  double relative = 0;
};

class Control {
 public:
  double epsilon = 0;  // of the half step that comes
  double error = 0, mass = 0;
  int64_t iterations = 0;
  bool converged = true;

  struct Options {
    Way way = Way::balance;
    bool self = false;
    double epsilon = 0, tolerance = 0, scale = 0, ratio = 4;
    double noise = 0;  // 2 ulp of accumulators
    double power = 2, scaling = 0.5, diameter = 0;
    int64_t max_iterations = 0;
  };

  SP_HOST_DEVICE void begin(const Options& o) {
    o_ = o;
    epsilon = o.epsilon;
    if (o.way == Way::symmetrise) return;
    if (o.way == Way::balance) {
      if (o.scale > o.epsilon && o.max_iterations > 1) epsilon = o.scale;
      return;
    }
    const double steps = geomloss_steps(o.power, o.scaling, o.epsilon, o.diameter);
    if (steps < 2) return;
    const double first = std::pow(o.diameter, o.power);
    log_first_ = o.power * std::log(o.diameter);
    log_step_ = o.power * std::log(o.scaling);
    count_ = static_cast<int64_t>(steps) - 2;
    first_ = first;
    epsilon = first;
  }
  SP_HOST_DEVICE bool is_final() const { return epsilon == o_.epsilon; }

  SP_HOST_DEVICE Decision after(int half, const Halfway& h) {
    Decision d;
    d.epsilon = d.next = epsilon;
    d.from = half;
    d.to = half + 1;
    d.final = is_final();
    if (half) {
      most_y_ = h.most;
    } else {
      most_x_ = h.most;
    }
    if (o_.way == Way::follow) {
      after_both(half, h, &d);
    } else if (!is_final()) {
      anneal(half, &d);
    } else {
      o_.way == Way::balance ? balance(half, h, &d) : symmetrise(h, &d);
    }
    epsilon = d.next;
    return d;
  }

 private:
  SP_HOST_DEVICE void anneal(int half, Decision* d) {
    if (half == 0) return;
    ++iterations;
    const double next = epsilon / o_.ratio;
    d->next = next > o_.epsilon && iterations < o_.max_iterations - 1 ? next : o_.epsilon;
  }
  // Errors below this are rounding.
  SP_HOST_DEVICE double noise() const {
    const double size = most_x_ > most_y_ ? most_x_ : most_y_;
    return o_.noise * (1 + 1.4426950408889634 / o_.epsilon * size);
  }
  // Errors within the rounding no longer fall, or are no numbers.
  SP_HOST_DEVICE bool is_stuck(double e) {
    if (e < 0.9 * best_) {
      best_ = e;
      idle_ = 0;
    } else {
      ++idle_;
    }
    return !(e < 1e300) || (idle_ >= 40 && best_ < (idle_ < 400 ? 1 : 8) * noise());
  }
  SP_HOST_DEVICE void balance(int half, const Halfway& h, Decision* d) {
    if (half == 0) {
      ++iterations;
      rows_ = h.relative;
      last_ = stuck_ || iterations >= o_.max_iterations;
      landing_ = landing_ || last_;
      d->omega = landing_ ? 1 : 1 + over_;
      return;
    }
    d->omega = 1 + over_;
    if (landing_ && (last_ || h.relative <= o_.tolerance)) return end(h, d);
    stuck_ = is_stuck(rows_);
    landing_ = rows_ <= o_.tolerance;
    see(rows_);
  }
  SP_HOST_DEVICE void symmetrise(const Halfway& h, Decision* d) {
    ++iterations;
    d->omega = 2.0 / 3;
    const bool stuck = is_stuck(h.relative);
    if (h.relative <= o_.tolerance || stuck || iterations >= o_.max_iterations) end(h, d);
  }
  SP_HOST_DEVICE void end(const Halfway& h, Decision* d) {
    error = h.relative;
    mass = h.mass;
    converged = error <= o_.tolerance;
    d->to = d->from;
    d->done = 1;
  }
  SP_HOST_DEVICE double geomloss_epsilon(int64_t i) const {
    if (first_ == 0 || i > count_) return o_.epsilon;
    return i <= 0 ? first_ : std::exp(log_first_ + static_cast<double>(i - 1) * log_step_);
  }
  // index_ counts full steps: -1 replaces the potentials, those of the schedule average, the last
  // one only looks.
  SP_HOST_DEVICE void after_both(int half, const Halfway& h, Decision* d) {
    if (half == 0) {
      mass = h.mass;
      error = h.relative;
    } else {
      error = h.relative > error ? h.relative : error;
    }
    d->to = d->from;
    if (half == 0 && !o_.self) return;
    d->from = 0;
    d->to = o_.self ? 1 : 2;
    const int64_t steps = first_ == 0 ? 1 : count_ + 2;
    if (index_ == steps) {
      d->to = 0;
      d->done = 1;
      iterations = steps;
      converged = error <= o_.tolerance;
      return;
    }
    d->omega = index_ < 0 ? 1 : 0.5;
    ++index_;
    d->next = geomloss_epsilon(index_ < steps ? index_ : steps - 1);
  }

  // The factor of over-relaxation: see iterate.h.
  SP_HOST_DEVICE void see(double e) {
    if (++age_ == kSettle) start_ = e;
    if (age_ < kSettle + window() || !(start_ > 0) || !(e > 0)) return;
    const double rate = std::pow(e / start_, 1.0 / window());
    age_ = 0;
    if (rate >= 1) {
      over_ /= 2;
    } else if (rate > over_) {
      const double sum = rate + over_, t = sum * sum / (rate * (1 + over_) * (1 + over_));
      const double best = 2 / (1 + std::sqrt(1 - (t < 1 ? t : 1))) - 1, most = (1 + over_) / 2;
      over_ = best < most ? best : most;
    } else {
      const double less = 1 - 1.5 * (1 - over_);
      over_ = less > 0 ? less : 0;
    }
  }
  SP_HOST_DEVICE int window() const {
    if (over_ == 0) return 2;
    const double wanted = 0.7 / (1 - over_);
    return static_cast<int>(wanted < 4 ? 4 : wanted > 40 ? 40 : wanted);
  }

  static constexpr int kSettle = 3;
  Options o_;
  double most_x_ = 0, most_y_ = 0;
  double over_ = 0, start_ = 0;
  double best_ = 1e300;
  double rows_ = 0;
  double log_first_ = 0, log_step_ = 0, first_ = 0;
  int64_t count_ = 0, index_ = -1;
  int age_ = 0, idle_ = 0;
  bool last_ = false, landing_ = false, stuck_ = false;
};

}  // namespace surprisal::sinkhorn
