// Layer and RMS normalisation of rows, x (N, D) with optional weight and bias (D):
//   layer: y = (x - mean) r w + b, r = 1/sqrt(var + eps), var with divisor D   (Ba et al. 2016)
//   rms:   y = x r w,              r = 1/sqrt(mean x^2 + eps)       (Zhang and Sennrich 2019)
// With h = (x - mean) r (rms: x r) and q = g w:
//   dx = r (q - mean(q) - h mean(q h))   (rms: without mean(q)),   dw = Σ_N g h,   db = Σ_N g
// Saved: mean and r per row, in the compute type (float32; float64 for float64).
// dw and db: rows are cut into chunks of a size that depends on N alone, each summed in order, then
// the chunks in order, so that any number of threads gives the same bits.
#pragma once
#include "core/view.h"

namespace surprisal::norm {

struct Forward {
  View x, y, r;  // (N, D), (N, D), (N)
  int64_t rows = 0, width = 0;
  double eps = 0;
  View weight, bias;  // (D), optional
  View mean;          // (N): present for layer, absent for rms
};
struct Backward {
  View x, g, r;
  int64_t rows = 0, width = 0;
  View weight, mean;
  View dx, dweight, dbias;  // those that are wanted
};

// Throw where sizes or dtypes differ.
void check(const Forward& op);
void check(const Backward& op);

void forward(const Forward& op);
void backward(const Backward& op);
void forward_cuda(const Forward& op, cuda::Stream& stream);
void backward_cuda(const Backward& op, cuda::Stream& stream);

}  // namespace surprisal::norm
