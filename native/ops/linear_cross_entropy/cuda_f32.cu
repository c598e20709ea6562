#include "ops/linear_cross_entropy/plain.h"

namespace surprisal::linear_cross_entropy {

template void plain_states<float>(const StatesWork&, const Tiles&, Stream&);
template void plain_slopes<float>(const SlopesWork&, const Tiles&, Stream&);
template void plain_product_x<float>(const ProductX&, const Tiles&, Stream&);
template void plain_product_w<float>(const ProductW&, const Tiles&, Stream&);

}  // namespace surprisal::linear_cross_entropy
