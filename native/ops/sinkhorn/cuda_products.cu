// The solve in float where tensor cores make the scores.
#include "ops/sinkhorn/solve_device.h"

namespace surprisal::sinkhorn {
void run_products(const SolveWork& work, cuda::Stream& stream) {
  launch_solve<float, true>(work, stream);
}
}  // namespace surprisal::sinkhorn
