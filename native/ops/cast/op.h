// out[i] = a[i] converted to out's dtype, as a C cast does it where C defines one. Where C does
// not, a float out of an integer's range becomes the nearest end of the range and NaN becomes 0.
// Integers wrap modulo 2^bits; to bool is `!= 0` (NaN is true); to a 16-bit float goes through
// float32, so that float64 is rounded twice, as in PyTorch.
#pragma once
#include "core/view.h"

namespace surprisal::cast {

struct Cast {
  View a;
  View out;
};

void cast_cpu(const Cast& op);
void cast_cuda(const Cast& op, cuda::Stream& stream);

}  // namespace surprisal::cast
