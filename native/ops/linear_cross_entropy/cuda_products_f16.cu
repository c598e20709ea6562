#include "ops/linear_cross_entropy/kinds.h"
#include "ops/linear_cross_entropy/products.h"

namespace surprisal::linear_cross_entropy {

void product_x_f16(const ProductX& p, const Tiles& tiles, Stream& stream) {
  product_x_by_tiles<Float16>(p, tiles, stream);
}
void product_w_f16(const ProductW& p, const Tiles& tiles, Stream& stream) {
  product_w_by_tiles<Float16>(p, tiles, stream);
}

}  // namespace surprisal::linear_cross_entropy
