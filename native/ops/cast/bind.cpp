#include "node/bind.h"
#include "ops/cast/op.h"

namespace surprisal::cast {

void bind(node::Module& m) {
  m.def<Cast, cast_cpu, SP_CUDA(cast_cuda)>("cast", {SP_FIELD(Cast, a), SP_FIELD(Cast, out)});
}

}  // namespace surprisal::cast
