#include "ops/linear_cross_entropy/kinds.h"
#include "ops/linear_cross_entropy/plain.h"

namespace surprisal::linear_cross_entropy {

void states_f64(const StatesWork& work, const Tiles& tiles, Stream& stream) {
  plain_states<double>(work, tiles, stream);
}
void slopes_f64(const SlopesWork& work, const Tiles& tiles, Stream& stream) {
  plain_slopes<double>(work, tiles, stream);
}
void product_x_f64(const ProductX& p, const Tiles& tiles, Stream& stream) {
  plain_product_x<double>(p, tiles, stream);
}
void product_w_f64(const ProductW& p, const Tiles& tiles, Stream& stream) {
  plain_product_w<double>(p, tiles, stream);
}

}  // namespace surprisal::linear_cross_entropy
