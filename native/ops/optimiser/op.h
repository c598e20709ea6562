// One fused pass per parameter and step, in the order of operations of torch.optim:
//   Sgd   g += wd p;  b = first ? g : mu b + (1 - dampening) g;  g = nesterov ? g + mu b : b;
//         p -= lr g
//   Adam  g += wd p (or, decoupled, p *= 1 - lr wd: AdamW, Loshchilov and Hutter 2019);
//         m += (1 - beta1) (g - m);  v = beta2 v + (1 - beta2) g^2;
//         p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
// float64 parameters are updated in float64, others in float32. float16 and bfloat16 parameters
// have a float32 master copy, which is updated, and of which they are the rounded image.
// SquareSum and Scale serve gradient clipping.
#pragma once
#include "core/view.h"

namespace surprisal::optimiser {

struct Sgd {
  View param, grad;  // of one float dtype
  View master;       // float32, for 16-bit parameters
  View buffer;       // float32 or float64; absent without momentum
  double lr = 0, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false, first = false;
};
struct Adam {
  View param, grad;
  View master;
  View m, v;  // float32 or float64
  double lr = 0, beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
  bool decoupled = false;
  int64_t step = 1;  // counted from 1
};
struct SquareSum {
  View a;
  View out;  // float64 (1)
};
struct Scale {
  View a;
  View out;  // may be a
  double factor = 1;
};

void sgd_cpu(const Sgd& op);
void adam_cpu(const Adam& op);
void square_sum_cpu(const SquareSum& op);
void scale_cpu(const Scale& op);

}  // namespace surprisal::optimiser
