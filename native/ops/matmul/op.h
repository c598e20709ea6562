// out = A·B for each of `batch` pairs; A is (m, k) or with transpose_a (k, m), B is (k, n) or with
// transpose_b (n, k), out is (batch, m, n), all of one float dtype. float64 is computed in float64,
// everything else accumulates in float32 and is rounded once. Pair i starts at element
// a_offsets[i], b_offsets[i] (which is how batch dimensions broadcast without a copy); without
// offsets the pairs lie one after the other. `accumulate` adds to out.
#pragma once
#include "core/view.h"

namespace surprisal::matmul {

struct Matmul {
  View a, b, out;
  int64_t m = 0, n = 0, k = 0, batch = 1;
  bool transpose_a = false, transpose_b = false, accumulate = false;
  View a_offsets, b_offsets;  // (batch) int64, in elements; on the host for every device
};

void forward(const Matmul& op);
void forward_cuda(const Matmul& op, cuda::Stream& stream);

}  // namespace surprisal::matmul
