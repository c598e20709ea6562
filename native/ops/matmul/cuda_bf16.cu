#include "ops/matmul/tensor_cores.h"

namespace surprisal::matmul {

void tensor_cores_bf16(const Parameters& p, Stream& stream) { tensor_cores<BFloat16>(p, stream); }

}  // namespace surprisal::matmul
