// What pairs cost and how that depends on their values, for host and device alike: the same sums in
// the same order, so that both give the same bits (the device's code is compiled without
// contraction). Lists are taken kLanes pairs at a time: pair q adds to the partial sum q % kLanes;
// to the gradient a group adds its births in order, then its deaths.
#pragma once
#include <cstdint>

#include "core/portable.h"

namespace surprisal::betti_matching {

constexpr int kLanes = 32;  // of a warp

struct Costs {
  double matched = 1, prediction = 1, target = 1;  // weights
  bool one_zero = false, superlevel = true;
};

// The loss of a pair and its derivatives in the prediction's birth and death.
struct Effect {
  double loss = 0, birth = 0, death = 0;
};

// Equal infinities differ by nothing.
SP_HOST_DEVICE inline double difference(double a, double b) { return a == b ? 0 : a - b; }

// The component that never dies has no death to compare.
SP_HOST_DEVICE inline Effect of_match(const Costs& costs, double birth, double target_birth,
                                      double death, double target_death, bool is_essential) {
  const double w = costs.matched, b = difference(birth, target_birth);
  Effect e{2 * w * b * b, 4 * w * b, 0};
  if (is_essential) return e;
  const double d = difference(death, target_death);
  e.loss += 2 * w * d * d;
  e.death = 4 * w * d;
  return e;
}

// Of a pair that input i has alone: 0 the prediction, 1 the target.
SP_HOST_DEVICE inline Effect of_rest(const Costs& costs, int i, double birth, double death) {
  const double w = i == 0 ? costs.prediction : costs.target;
  if (!costs.one_zero) {
    const double length = difference(birth, death);
    return {w * length * length, 2 * w * length, -2 * w * length};
  }
  // To (1, 0) of the sublevel filtration of x or 1 - x.
  const double b = birth - (costs.superlevel ? 0 : 1), d = death - (costs.superlevel ? 1 : 0);
  return {2 * w * (b * b + d * d), 4 * w * b, 4 * w * d};
}

// The partial sums on the host; a warp has one a lane.
class Partial {
 public:
  void add(int64_t q, double x) { lane_[q % kLanes] += x; }
  double total() {
    for (int m = kLanes / 2; m > 0; m /= 2)
      for (int l = 0; l < m; ++l) lane_[l] += lane_[l + m];
    return lane_[0];
  }

 private:
  double lane_[kLanes] = {};
};

}  // namespace surprisal::betti_matching
