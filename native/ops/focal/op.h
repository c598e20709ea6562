// Focal loss of independent logits (Lin et al. 2017, eq. 5): with p = sigmoid(x), q = 1 - p,
//   element = -a t q^g log p - b (1-t) p^g log q,  log p = -softplus(-x), log q = -softplus(x)
//   d/dx    = -a t q^g (g p softplus(-x) + q) + b (1-t) p^g (g q softplus(x) + p)
// Mean: over all elements. Backward reads the logits again; nothing is stored.
#pragma once
#include "core/view.h"

namespace surprisal::focal {

struct Problem {
  View logits;                                   // any float dtype
  View target;                                   // the same dtype, bool or uint8
  double gamma = 2, positive = 1, negative = 1;  // g, a, b
  int32_t reduction = 1;
};
struct Forward : Problem {
  View loss;  // (1), or like logits: float64 for float64, else float32
};
struct Backward : Problem {
  View upstream, grad;
};

void forward(const Forward& op);
void backward(const Backward& op);

}  // namespace surprisal::focal
