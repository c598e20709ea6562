// Lines of a (outer, n, inner) in order along n: the first `count` of each, with the positions they
// had. Equal elements keep their order (-0 equals 0), a NaN is larger than every number; with
// `descending` the largest come first, NaN before them. Each element becomes an unsigned key of the
// same order; whole lines are sorted by digits (LSD radix sort; short ones by merging), fewer by
// selection of the least (key, position) pairs. A line is one thread's work.
#pragma once
#include "core/view.h"

namespace surprisal::sort {

struct Sort {
  View a;        // (outer, n, inner)
  View values;   // (outer, count, inner) of a's dtype
  View indices;  // the same of int32
  int64_t outer = 1, n = 0, inner = 1, count = 0;
  bool descending = false;
};

void sort(const Sort& op);

}  // namespace surprisal::sort
