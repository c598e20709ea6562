// Entropic optimal transport between weighted points, or of a given cost (N, M):
//   min over P of <P,C> + eps KL(P|ab') + rhoA KL(P1|a) + rhoB KL(P'1|b), in its dual
//   P_ij = a_i b_j e^((f_i + g_j - C_ij)/eps),  f_i = -damp eps log sum_j b_j e^((g_j - C_ij)/eps),
// damp = 1/(1 + eps/rho), 1 where rho is infinite and the marginal holds (Cuturi 2013; Feydy et al.
// 2019; Sejourne et al. 2019, prop. 12). Debiased: minus half of (x,x) and of (y,y), plus
// eps/2 (mass a - mass b)^2. Points are centred and rounded to float32 (float64 stays); sums over a
// tile of columns are of that type, all else double. Saved for backward: `potentials`, doubles.
// Values that are not finite, negative weights, a mass of 0 and, where the marginals must hold,
// masses that differ throw before any write. Results do not depend on the number of threads.
#pragma once
#include <cmath>

#include "core/portable.h"
#include "core/view.h"

namespace surprisal::sinkhorn {

enum class Cost : int32_t {
  half_square,  // |x-y|^2/2
  distance,     // |x-y|
  cosine,       // 1 - cos(x, y)
  matrix,
};

struct Problem {
  View x, y;                // (sum of N, D), (sum of M, D) of one float dtype
  View cost;                // (B, N, M) instead, for Cost::matrix
  View a, b;                // (sum of N), (sum of M), any float dtype; absent: uniform, mass 1
  View labels_x, labels_y;  // (sum of N), (sum of M) int32 in [0, V); may be absent
  View label_cost;          // (V, V), float: added to C at the labels of the pair
  View starts_x, starts_y;  // (B + 1) int64: where each problem's points begin
  int64_t batch = 0, width = 0, labels = 0;
  int32_t kind = 0;    // Cost
  int32_t caller = 0;  // for errors: sinkhornDivergence, sinkhornPotentials, sinkhorn
  double epsilon = 0;
  double rho_a = -1, rho_b = -1;  // negative: infinite
  bool debias = false;
  double tolerance = 1e-3;
  int64_t max_iterations = 10000;
  bool geomloss = false;            // its schedule and iterates
  double power = 2, scaling = 0.5;  // of its schedule
  int64_t workspace_bytes = int64_t{32} << 20;
};

// Epsilons of GeomLoss's schedule for points in a box of this diameter.
SP_HOST_DEVICE inline double geomloss_steps(double power, double scaling, double epsilon,
                                            double diameter) {
  // A first epsilon far below the last is out of range, and changes nothing.
  if (!(std::pow(diameter, power) > 1e-12 * epsilon)) return 1;
  // The length of numpy's arange.
  const double count =
      std::ceil((std::log(epsilon) - power * std::log(diameter)) / (power * std::log(scaling)));
  return count > 0 ? count + 2 : 2;
}
inline double geomloss_steps(const Problem& op, double diameter) {
  return geomloss_steps(op.power, op.scaling, op.epsilon, diameter);
}

// For each point: its potential, the potential that the other side's softmin saw, and the balanced
// softmin at that. Of x, then of y, then if debiased of the self terms of x and of y.
constexpr int64_t kKept = 3;

struct Solve : Problem {
  View value;           // (B), float64 for float64 points, else float32
  View f, g;            // (sum of N), (sum of M) like value; may be absent
  View potentials;      // float64 (kKept (sum of N + sum of M)), twice that if debiased
  View info;            // float64 (B, 3): iterations, error, whether converged
  View init_f, init_g;  // (sum of N), (sum of M), any float dtype: where to start; absent: from 0
};

struct Gradients : Problem {
  View potentials;
  View upstream;                            // (B) like value
  View dx, dy, dcost, da, db, dlabel_cost;  // like their inputs; absent unless wanted
};

struct Plan : Problem {
  View potentials;
  View out;  // (B, N, M) like value: equal sizes
};

// P v or P'v.
struct Apply : Problem {
  View potentials;
  View v;               // (sum of M, K), or (sum of N, K) if transposed, like value
  View out;             // (sum of N, K), or (sum of M, K)
  int64_t columns = 0;  // K
  bool transposed = false;
};

void solve(const Solve& op);
void gradients(const Gradients& op);
void plan(const Plan& op);
void apply(const Apply& op);

void solve_cuda(const Solve& op, cuda::Stream& stream);
void gradients_cuda(const Gradients& op, cuda::Stream& stream);
void plan_cuda(const Plan& op, cuda::Stream& stream);
void apply_cuda(const Apply& op, cuda::Stream& stream);

}  // namespace surprisal::sinkhorn
