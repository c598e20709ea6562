#include "ops/random/op.h"

#include "ops/random/values.h"

#define SURPRISAL_BODY "ops/random/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::random {

void uniform_cpu(const Draw& op) { SURPRISAL_DISPATCH(random::uniform, op); }

void normal_cpu(const Draw& op) { SURPRISAL_DISPATCH(random::normal, op); }

void integers_cpu(const Integers& op) {
  require(op.low < op.high, "randint: low is not below high");
  SURPRISAL_DISPATCH(random::integers, op);
}

}  // namespace surprisal::random
