#include "ops/matmul/warpgroups.h"

namespace surprisal::matmul {

void warpgroups_bf16(const Parameters& p, Stream& stream) { warpgroups<BFloat16>(p, stream); }

}  // namespace surprisal::matmul
