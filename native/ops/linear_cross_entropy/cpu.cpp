#include <algorithm>
#include <memory>
#include <string>

#include "core/logit_plan.h"
#include "ops/linear_cross_entropy/rows.h"

#define SURPRISAL_AVX512
#define SURPRISAL_BODY "ops/linear_cross_entropy/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::linear_cross_entropy {

void stream(const Stream& s) {
  // Rows that no product touches: ignored, or shifted out.
  if (s.gradients.dx && s.n < s.op.batch * s.op.length) fill_zero(s.gradients.dx);
  if (s.n == 0 && !s.gradients.add_to_dweight) fill_zero(s.gradients.dweight);
  if (s.n == 0) fill_zero(s.gradients.dbias);
  SURPRISAL_DISPATCH(linear_cross_entropy::stream, s);
}

void argmax(const Argmax& op) {
  check_linear(op, "linearArgmax");
  require(op.out.size == op.batch * op.length && op.shift == 0, "linearArgmax: size of out");
  SURPRISAL_DISPATCH(linear_cross_entropy::argmax, op);
}

void scale(const View& from, double factor, const View& to) {
  if (!to || (to.data == from.data && factor == 1)) return;
  require(to.size == from.size && to.dtype == from.dtype, "linearCrossEntropy: scale");
  SURPRISAL_DISPATCH(linear_cross_entropy::scale, from, factor, to);
}

}  // namespace surprisal::linear_cross_entropy
