#include "ops/linear_cross_entropy/kinds.h"
#include "ops/linear_cross_entropy/tensor_cores.h"

namespace surprisal::linear_cross_entropy {

void states_f16(const StatesWork& work, const Tiles& tiles, Stream& stream) {
  states_by_tiles<Float16>(work, tiles, stream);
}

}  // namespace surprisal::linear_cross_entropy
