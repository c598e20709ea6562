#include "ops/linear_cross_entropy/wide_folds.h"

namespace surprisal::linear_cross_entropy {

template void states_by_warpgroups<BFloat16>(const StatesWork&, const Tiles&, Stream&);
template void slopes_by_warpgroups<BFloat16>(const SlopesWork&, const Tiles&, Stream&);

}  // namespace surprisal::linear_cross_entropy
