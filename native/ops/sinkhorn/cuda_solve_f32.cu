// The solve in float.
#include "ops/sinkhorn/solve_device.h"

namespace surprisal::sinkhorn {
template void hold_scores<float>(const Job&, int64_t, cuda::Stream&);
template void run_solve<float>(const SolveWork&, cuda::Stream&);
}  // namespace surprisal::sinkhorn
