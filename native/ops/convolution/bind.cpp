#include "node/bind.h"
#include "ops/convolution/op.h"

namespace surprisal::convolution {

void bind(node::Module& m) {
  const std::initializer_list<node::Member> fields = {
      SP_FIELD(Convolution, image),       SP_FIELD(Convolution, filter),
      SP_FIELD(Convolution, result),      SP_FIELD(Convolution, bias),
      SP_FIELD(Convolution, batch),       SP_FIELD(Convolution, channels),
      SP_FIELD(Convolution, filters),     SP_FIELD(Convolution, groups),
      SP_FIELD(Convolution, size),        SP_FIELD(Convolution, kernel),
      SP_FIELD(Convolution, result_size), SP_FIELD(Convolution, stride),
      SP_FIELD(Convolution, padding),     SP_FIELD(Convolution, dilation)};
  m.def<Convolution, convolve>("convolve", fields);
  m.def<Convolution, convolve_image>("convolveImage", fields);
  m.def<Convolution, convolve_filter>("convolveFilter", fields);
}

}  // namespace surprisal::convolution
