// softmax and log-softmax along one axis of (outer, n, inner), and their gradients:
//   y_i = e^(x_i - m) / Σ e^(x_k - m)         dx = y (g - Σ g y)
//   y_i = x_i - m - log Σ e^(x_k - m)         dx = g - e^y Σ g
// with m = max x. A row of -inf gives NaN, as its limit does not exist; so does one with +inf or
// NaN. Sums are taken in float32 (float64 for float64), per row in a fixed order.
#pragma once
#include "core/view.h"

namespace surprisal::softmax {

struct Forward {
  View x, y;
  int64_t outer = 1, n = 1, inner = 1;
  bool log = false;
};
struct Backward {
  View y, g, dx;
  int64_t outer = 1, n = 1, inner = 1;
  bool log = false;
};

// Throw where sizes or dtypes differ.
void check(const Forward& op);
void check(const Backward& op);

void forward(const Forward& op);
void backward(const Backward& op);
void forward_cuda(const Forward& op, cuda::Stream& stream);
void backward_cuda(const Backward& op, cuda::Stream& stream);

}  // namespace surprisal::softmax
