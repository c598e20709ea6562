#include "ops/linear_cross_entropy/kinds.h"
#include "ops/linear_cross_entropy/plain.h"

namespace surprisal::linear_cross_entropy {

void states_f32(const StatesWork& work, const Tiles& tiles, Stream& stream) {
  plain_states<float>(work, tiles, stream);
}
void slopes_f32(const SlopesWork& work, const Tiles& tiles, Stream& stream) {
  plain_slopes<float>(work, tiles, stream);
}
void product_x_f32(const ProductX& p, const Tiles& tiles, Stream& stream) {
  plain_product_x<float>(p, tiles, stream);
}
void product_w_f32(const ProductW& p, const Tiles& tiles, Stream& stream) {
  plain_product_w<float>(p, tiles, stream);
}

}  // namespace surprisal::linear_cross_entropy
