// The sweeps of scan.h, by vectors of neighbouring voxels. Compiled once per instruction set.

namespace betti_matching {

#include "ops/betti_matching/scan2.h"
#include "ops/betti_matching/scan3.h"

}  // namespace betti_matching
