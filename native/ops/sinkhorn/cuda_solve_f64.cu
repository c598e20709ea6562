// The solve in double.
#include "ops/sinkhorn/solve_device.h"

namespace surprisal::sinkhorn {
template void hold_scores<double>(const Job&, int64_t, cuda::Stream&);
template void run_solve<double>(const SolveWork&, cuda::Stream&);
}  // namespace surprisal::sinkhorn
