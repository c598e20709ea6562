// out_i = sum_j P_ij <u_i, w_j> v_j: what second derivatives need of a plan, without making it.
#pragma once
#include "ops/sinkhorn/op.h"

namespace surprisal::sinkhorn {

struct Contract : Problem {
  View potentials;
  View u, w;                       // (sum of N, K), (sum of M, K), like value
  View v;                          // (sum of M, L)
  View out;                        // (sum of N, L)
  int64_t inner = 0, columns = 0;  // K, L
};

void contract(const Contract& op);

}  // namespace surprisal::sinkhorn
