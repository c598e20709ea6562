#include "ops/linear_cross_entropy/tensor_cores.h"

namespace surprisal::linear_cross_entropy {

template void states_by_tiles<BFloat16>(const StatesWork&, const Tiles&, Stream&);

}  // namespace surprisal::linear_cross_entropy
