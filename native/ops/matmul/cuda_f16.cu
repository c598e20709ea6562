#include "ops/matmul/tensor_cores.h"

namespace surprisal::matmul {

void tensor_cores_f16(const Parameters& p, Stream& stream) { tensor_cores<Float16>(p, stream); }

}  // namespace surprisal::matmul
