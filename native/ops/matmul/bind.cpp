#include "node/bind.h"
#include "ops/matmul/op.h"

namespace surprisal::matmul {

void bind(node::Module& m) {
  m.def<Matmul, forward, SP_CUDA(forward_cuda)>(
      "matmul",
      {SP_FIELD(Matmul, a), SP_FIELD(Matmul, b), SP_FIELD(Matmul, out), SP_FIELD(Matmul, m),
       SP_FIELD(Matmul, n), SP_FIELD(Matmul, k), SP_FIELD(Matmul, batch),
       SP_FIELD(Matmul, transpose_a), SP_FIELD(Matmul, transpose_b), SP_FIELD(Matmul, accumulate),
       SP_HOST_FIELD(Matmul, a_offsets), SP_HOST_FIELD(Matmul, b_offsets)});
}

}  // namespace surprisal::matmul
