// Distances between the rows of x (N, D) and y (M, D) of each of `batch` pairs, result (N, M):
//   d_ij = (Σ_k |x_ik - y_jk|^p)^(1/p);   p = 0: how many differ;   p = inf: the largest
// p = 2 goes through |u|² + |v|² - 2uv of rows u, v without their common mean, on the GEMM
// micro-kernel; where less than an eighth of |u|² + |v|² is left the difference is taken by
// elements, so that no digits are lost to cancellation. Nothing but a few blocks is held besides
// the result. Gradient: dx_i = Σ_j g_ij sign(t) (|t|/d)^(p-1), t = x_i - y_j; 0 where d = 0; p =
// inf: g_ij to every |t| = d. Sums run in order of j: the same bits for any number of threads.
#pragma once
#include "core/view.h"

namespace surprisal::cdist {

struct Cdist {
  View x, y, result;
  int64_t batch = 1, n = 0, m = 0, width = 0;
  double p = 2;
};
struct Backward {
  View x, y, result, g;  // x (batch, n, width), y (batch, m, width)
  View dx;               // like x
  int64_t batch = 1, n = 0, m = 0, width = 0;
  bool transposed = false;  // result and g are (batch, m, n)
  double p = 2;
};

void cdist(const Cdist& op);
void cdist_backward(const Backward& op);

}  // namespace surprisal::cdist
