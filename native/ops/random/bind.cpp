#include "node/bind.h"
#include "ops/random/op.h"

namespace surprisal::random {

void bind(node::Module& m) {
  m.def<Draw, uniform_cpu, SP_CUDA(uniform_cuda)>(
      "randomUniform", {SP_FIELD(Draw, out), SP_FIELD(Draw, seed), SP_FIELD(Draw, offset)});
  m.def<Draw, normal_cpu, SP_CUDA(normal_cuda)>(
      "randomNormal", {SP_FIELD(Draw, out), SP_FIELD(Draw, seed), SP_FIELD(Draw, offset)});
  m.def<Integers, integers_cpu, SP_CUDA(integers_cuda)>(
      "randomIntegers",
      {SP_FIELD(Integers, out), SP_FIELD(Integers, seed), SP_FIELD(Integers, offset),
       SP_FIELD(Integers, low), SP_FIELD(Integers, high)});
}

}  // namespace surprisal::random
