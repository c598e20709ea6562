// One problem, as the simplex sees it.
#pragma once
#include <cstdint>

namespace surprisal::emd {

struct Instance {
  const double* cost;  // (n, m)
  const double *a, *b;
  int64_t n, m;
  double scale;  // times which a and b are what was asked for
};

struct Answer {
  double *f, *g;   // (n), (m)
  int32_t* pairs;  // (n + m, 2)
  double* mass;    // (n + m)
};

struct Outcome {
  double value;  // of the plan
  double gap;    // how far it is above the potentials' value, which bounds the least from below
  double mean;   // of the potentials of either side
  int64_t pivots;
  bool optimal;
};

}  // namespace surprisal::emd
