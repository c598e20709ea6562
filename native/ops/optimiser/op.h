// One fused pass over many parameters and step, in the order of operations of torch.optim:
//   Sgd   g += wd p;  b = first ? g : mu b + (1 - dampening) g;  g = nesterov ? g + mu b : b;
//         p -= lr g
//   Adam  g += wd p (or, decoupled, p *= 1 - lr wd: AdamW, Loshchilov and Hutter 2019);
//         m += (1 - beta1) (g - m);  v = beta2 v + (1 - beta2) g^2;
//         p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
// float64 parameters are updated in float64, others in float32. float16 and bfloat16 parameters
// have a float32 master copy, which is updated, and of which they are the rounded image.
// What changes from step to step may lie in memory (`rates`), so that a recorded step can be
// repeated. SquareSum, ClipFactor and Scale serve gradient clipping: no value leaves the device.
#pragma once
#include <cmath>

#include "core/views.h"

namespace surprisal::optimiser {

// What changes from step to step, in the order of `rates`.
struct Rates {
  double lr, step, root, keep;  // lr / (1 - beta1^t), sqrt(1 - beta2^t), 1 - lr wd
};

struct Sgd {
  Views param, grad;  // all of one float dtype
  Views master;       // float32, for 16-bit parameters
  Views buffer;       // float32 or float64; empty without momentum
  View rates;         // instead of lr
  double lr = 0, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false, first = false;
};
struct Adam {
  Views param, grad;
  Views master;
  Views m, v;  // float32 or float64
  View rates;  // instead of lr and step
  double lr = 0, beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
  bool decoupled = false;
  int64_t step = 1;  // counted from 1
};
// Writes the Rates of a step.
struct SetRates {
  View out;  // float64 (4)
  double lr = 0, beta1 = 0, beta2 = 0, weight_decay = 0;
  int64_t step = 1;
};
// master[i] = param[i] where param[i] is no longer its rounded image.
struct Refresh {
  View param, master;
};
struct SquareSum {
  Views a;
  View out;  // float64 (1)
};
// norm = sqrt(square_sum), factor = max_norm / (norm + 1e-6)
struct ClipFactor {
  View square_sum;  // float64 (1)
  View norm;        // float32 or float64 (1)
  View factor;      // float64 (1)
  double max_norm = 0;
};
// out = a factor, where the factor is below 1 or NaN, else a.
struct Scale {
  Views a;
  Views out;    // each may be its a
  View factor;  // float64 (1)
};

inline Rates rates_of(double lr, double beta1, double beta2, double weight_decay, int64_t step) {
  const double t = static_cast<double>(step);
  return {lr, lr / (1 - std::pow(beta1, t)), std::sqrt(1 - std::pow(beta2, t)),
          1 - lr * weight_decay};
}

void sgd_cpu(const Sgd& op);
void adam_cpu(const Adam& op);
void set_rates_cpu(const SetRates& op);
void refresh_cpu(const Refresh& op);
void square_sum_cpu(const SquareSum& op);
void clip_factor_cpu(const ClipFactor& op);
void scale_cpu(const Scale& op);
void sgd_cuda(const Sgd& op, cuda::Stream& stream);
void adam_cuda(const Adam& op, cuda::Stream& stream);
void set_rates_cuda(const SetRates& op, cuda::Stream& stream);
void refresh_cuda(const Refresh& op, cuda::Stream& stream);
void square_sum_cuda(const SquareSum& op, cuda::Stream& stream);
void clip_factor_cuda(const ClipFactor& op, cuda::Stream& stream);
void scale_cuda(const Scale& op, cuda::Stream& stream);

}  // namespace surprisal::optimiser
