#include "ops/elementwise/op.h"

#include <cmath>
#include <utility>

#include "core/philox.h"
#include "ops/elementwise/call.h"

#define SURPRISAL_BODY "ops/elementwise/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::elementwise {
namespace {

void run(const Call& call) { SURPRISAL_DISPATCH(elementwise::run, call); }

}  // namespace

void unary(const Unary& op) { run(call_of(op)); }
void binary(const Binary& op) { run(call_of(op)); }
void ternary(const Ternary& op) { run(call_of(op)); }
void accumulate(const Accumulate& op) { run(call_of(op)); }

void dropout(const Dropout& op) {
  check(op);
  SURPRISAL_DISPATCH(elementwise::dropout, op);
}

}  // namespace surprisal::elementwise
