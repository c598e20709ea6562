#include "ops/matmul/warpgroups.h"

namespace surprisal::matmul {

void warpgroups_f16(const Parameters& p, Stream& stream) { warpgroups<Float16>(p, stream); }

}  // namespace surprisal::matmul
