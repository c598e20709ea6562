#include "ops/matmul/check.h"

#define SURPRISAL_AVX512
#define SURPRISAL_BODY "ops/matmul/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::matmul {

void forward(const Matmul& op) {
  check(op);
  if (op.out.size == 0) return;
  SURPRISAL_DISPATCH(matmul::forward, op);
}

}  // namespace surprisal::matmul
