// Scales each matrix of a batch (B, N, M) by rows and columns in turn so that their sums become
// those asked for: P = u_i K_ij v_j, K = e^(x/temperature), or K = x (Sinkhorn & Knopp 1967;
// Cuturi 2013; Mena et al. 2018). Rows first: a step is u = r/(K v), v = c/(Kᵀ u). The gradient is
// that of these very iterations. Nothing is saved: backward iterates again and keeps the vectors of
// every step, 4(N+M) numbers a step, of one matrix a thread. Accumulators as everywhere: float64
// for float64, else float32; a matrix whose logarithms range too widely for float32's (or
// float64's) exponents is iterated in float64 (or by logarithms), which shows in no other matrix.
// A row or column without a positive entry stays 0; NaN or +inf makes its own matrix NaN.
#pragma once
#include "core/view.h"

namespace surprisal::cuda {
class Stream;
}

namespace surprisal::sinkhorn_knopp {

struct Problem {
  View x;  // (B, N, M)
  // Sums, (N) or (B, N) and (M) or (B, M), any float dtype; absent: 1, N/M. Not differentiable.
  View rows, columns;
  int64_t batch = 1, n = 0, m = 0, iterations = 20;
  double temperature = 1;
  bool matrix = false;         // x is K itself, not negative
  bool columns_first = false;  // so that the rows hold exactly at the end
};

struct Forward : Problem {
  View out;  // like x
};
struct Backward : Problem {
  View upstream, grad;  // like x
};

void forward(const Forward& op);
void backward(const Backward& op);
void forward_cuda(const Forward& op, cuda::Stream& stream);
void backward_cuda(const Backward& op, cuda::Stream& stream);

}  // namespace surprisal::sinkhorn_knopp
