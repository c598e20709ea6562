// Where kernels report bad values, in the order in which the CPU looks at them.
#pragma once
#include "cuda/fault.h"

namespace surprisal::cuda {
class Stream;
}

namespace surprisal::sinkhorn {

struct Faults {
  cuda::FaultSite weight[2], none[2], masses, points[2], labels[2], label_cost, cost, schedule;
};
Faults faults_of(cuda::Stream& stream);

}  // namespace surprisal::sinkhorn
