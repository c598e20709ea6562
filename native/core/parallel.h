// The process-wide thread pool. `parallel_for` cuts [0, n) into pieces of at least `grain` items
// and returns when all are done; the calling thread works too. Callers from several JS threads
// share the workers. The cut depends on the thread count, so a body must give every item the same
// result whichever piece it falls in; sums across items belong in a fixed-order second step.
// A nested call runs inline. The first exception of a body is rethrown to the caller.
#pragma once
#include <cstdint>
#include <functional>

namespace surprisal {

int num_threads();
void set_num_threads(int n);

namespace detail {
using Body = void (*)(void* context, int64_t begin, int64_t end);
void run_parallel(int64_t n, int64_t grain, Body body, void* context);
}  // namespace detail

template <class F>
void parallel_for(int64_t n, int64_t grain, F&& f) {
  if (n <= 0) return;
  using Fn = std::remove_reference_t<F>;
  detail::run_parallel(
      n, grain, [](void* c, int64_t b, int64_t e) { (*static_cast<Fn*>(c))(b, e); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

}  // namespace surprisal
