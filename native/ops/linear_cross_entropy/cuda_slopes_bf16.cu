#include "ops/linear_cross_entropy/kinds.h"
#include "ops/linear_cross_entropy/tensor_cores.h"

namespace surprisal::linear_cross_entropy {

void slopes_bf16(const SlopesWork& work, const Tiles& tiles, Stream& stream) {
  slopes_by_tiles<BFloat16>(work, tiles, stream);
}

}  // namespace surprisal::linear_cross_entropy
