// Loops over large items that have parallel loops of their own.
#pragma once
#include "core/parallel.h"

namespace surprisal {

// As parallel_for, or, where the items are few for the threads, one after the other, each on all of
// them. What a body does outside its loops then takes n times as long; hence the root.
template <class F>
void parallel_for_large(int64_t n, int64_t grain, F&& f) {
  if (n > 0 && n * n <= num_threads()) return f(int64_t{0}, n);
  parallel_for(n, grain, f);
}

}  // namespace surprisal
