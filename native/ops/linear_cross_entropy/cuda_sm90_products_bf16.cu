#include "ops/linear_cross_entropy/wide_products.h"

namespace surprisal::linear_cross_entropy {

template void product_x_by_warpgroups<BFloat16>(const ProductX&, const Tiles&, Stream&);
template void product_w_by_warpgroups<BFloat16>(const ProductW&, const Tiles&, Stream&);

}  // namespace surprisal::linear_cross_entropy
