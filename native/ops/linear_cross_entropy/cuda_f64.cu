#include "ops/linear_cross_entropy/plain.h"

namespace surprisal::linear_cross_entropy {

template void plain_states<double>(const StatesWork&, const Tiles&, Stream&);
template void plain_slopes<double>(const SlopesWork&, const Tiles&, Stream&);
template void plain_product_x<double>(const ProductX&, const Tiles&, Stream&);
template void plain_product_w<double>(const ProductW&, const Tiles&, Stream&);

}  // namespace surprisal::linear_cross_entropy
