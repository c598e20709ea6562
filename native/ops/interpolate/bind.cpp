#include "node/bind.h"
#include "ops/interpolate/op.h"

namespace surprisal::interpolate {

void bind(node::Module& m) {
  const std::initializer_list<node::Member> fields = {
      SP_FIELD(Interpolate, image),       SP_FIELD(Interpolate, result),
      SP_FIELD(Interpolate, planes),      SP_FIELD(Interpolate, size),
      SP_FIELD(Interpolate, result_size), SP_FIELD(Interpolate, scale_z),
      SP_FIELD(Interpolate, scale_y),     SP_FIELD(Interpolate, scale_x),
      SP_FIELD(Interpolate, linear),      SP_FIELD(Interpolate, align_corners)};
  m.def<Interpolate, interpolate>("interpolate", fields);
  m.def<Interpolate, interpolate_backward>("interpolateBackward", fields);
}

}  // namespace surprisal::interpolate
