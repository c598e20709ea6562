// Running sums along one axis of a (outer, n, inner): out[o, i, k] = Σ of a[o, j, k] over j <= i,
// or with `reverse` over j >= i, which is the gradient. Floats are summed in float64 and rounded to
// their dtype at each step; integers and bool are summed in int64, wrapping. One line is summed by
// one thread in order: the same bits for any number of threads.
#pragma once
#include "core/view.h"

namespace surprisal::cumsum {

struct Cumsum {
  View a, out;
  int64_t outer = 1, n = 0, inner = 1;
  bool reverse = false;
};

void cumsum(const Cumsum& op);

}  // namespace surprisal::cumsum
