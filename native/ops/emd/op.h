// Exact optimal transport of a cost (B, N, M) between weights a (B, N) and b (B, M) of equal mass:
//   min over P >= 0 of <P, C>, P1 = a, P'1 = b,   max over f_i + g_j <= C_ij of <a, f> + <b, g>
// by the primal network simplex on strongly feasible trees (Cunningham 1976; Bonneel et al. 2011),
// in double. A plan is kept as its at most N + M - 1 entries. Potentials of points without weight
// are the largest that fit; <a, f> = <b, g>. Values that are not finite, negative weights and
// masses that differ throw before any write. A problem is one thread's work.
#pragma once
#include "core/view.h"

namespace surprisal::emd {

struct Solve {
  View cost;         // (B, N, M), any float dtype
  View a, b;         // (B, N), (B, M), any float dtype; absent: uniform, mass 1
  View value, f, g;  // (B), (B, N), (B, M): double for a cost of double, else float32
  View da, db;       // like f and g: of zero weighted mean
  View pairs;        // int32 (B, N + M, 2): row and column of each entry, -1 beyond the last
  View mass;         // float64 (B, N + M)
  View info;         // float64 (B, 3): pivots, duality gap, whether optimal
  int64_t batch = 0, n = 0, m = 0;
  int64_t max_iterations = 0;  // 0: as many as it takes
};

// The plan times a factor of each problem.
struct Spread {
  View pairs, mass;
  View factor;  // (B), float; absent: 1
  View out;     // (B, N, M), float
  int64_t batch = 0, n = 0, m = 0;
};

// P v or P'v.
struct Apply {
  View pairs, mass;
  View v;    // (B, M, K), or (B, N, K) if transposed
  View out;  // (B, N, K), or (B, M, K)
  int64_t batch = 0, n = 0, m = 0, columns = 0;
  bool transposed = false;
};

void solve(const Solve& op);
void spread(const Spread& op);
void apply(const Apply& op);

}  // namespace surprisal::emd
