#include "ops/linear_cross_entropy/tensor_cores.h"

namespace surprisal::linear_cross_entropy {

template void slopes_by_tiles<Float16>(const SlopesWork&, const Tiles&, Stream&);

}  // namespace surprisal::linear_cross_entropy
