// Plain steps, recorded, and the derivative of where they end through all of them (Genevay et al.
// 2018). From the columns' potentials g = 0, or init_g: f <- damped softmin of g, and but after the
// last one g <- that of f; `max_iterations` times f, or until the tolerance holds. Of (x,x) and of
// (y,y) the same. The value is the dual's at the end. With phi and gamma the derivatives by f and
// g,
//   f_i = -damp eps log sum_j b_j e^((g_j - C_ij)/eps),  e_ij = e^((f_i/damp + g_j - C_ij)/eps):
//   dC_ij += damp phi_i b_j e_ij,  db_j -= damp eps sum_i phi_i e_ij,
//   gamma_j -= damp b_j sum_i phi_i e_ij
// and likewise through each g, back to the first step. The number of steps and the first g are held
// constant. e is made again: 2 passes over the pairs for each softmin, no (N, M) memory.
#pragma once
#include "ops/sinkhorn/op.h"

namespace surprisal::sinkhorn {

// What is recorded of a term of a problem.
struct Steps {
  double* count = nullptr;  // of the steps taken; null: not recorded
  double* from = nullptr;
  int64_t n = 0, m = 0;
  // The potentials that the rows' softmins of step t saw (m), and what these became (n).
  double* columns(int64_t t) const { return from + t * (n + m); }
  double* rows(int64_t t) const { return columns(t) + m; }
};
struct TermSteps {
  Steps cross, xx, yy;  // the last two only if debiased
};

struct Unroll : Solve {
  View steps;  // float64 (3 B + max_iterations (sum of N + sum of M)), the latter thrice if
               // debiased; absent unless a backward comes
};

struct UnrollBackward : Gradients {  // upstream may be absent
  View steps;
  View upstream_f, upstream_g;  // like f and g, may be absent
};

void unroll(const Unroll& op);
void unroll_backward(const UnrollBackward& op);

}  // namespace surprisal::sinkhorn
