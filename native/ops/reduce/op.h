// Reductions over any set of axes.
//   sum          p Σ x                                   (mean: p = 1/n)
//   var, std     Σ (x - mean)^2 / max(0, n - p), two passes; `extra` receives the mean
//   max, min     NaN if any is
//   argmax, argmin  int32 position among the reduced axes, row-major; the first of equals
//   logsumexp    log Σ e^x
//   norm         (Σ |x|^p)^(1/p); p = inf: max |x|
//   count_equal  how many x equal extra (NaN equals NaN): the ties that share a gradient
// float32, float16 and bfloat16: blocks of 512 are summed in float32 (32 partial sums each), block
// sums in float64. float64 in float64, integers in int64. The order depends on the shape alone,
// so any number of threads gives the same bits.
#pragma once
#include "core/view.h"

namespace surprisal::reduce {

// The numbers are repeated in src/reduction.ts.
enum class Kind : int32_t {
  sum,
  var,
  std,
  max,
  min,
  argmax,
  argmin,
  logsumexp,
  norm,
  count_equal,
};

struct Reduce {
  int32_t kind = 0;
  View a;
  View out;
  double p = 1;
  Dims shape;        // of a
  int32_t axes = 0;  // bit d: axis d is reduced
  View extra;        // of the size of out; var, std: written; count_equal: read
};

// `a` seen as (outer, n, inner), of which n is reduced.
struct Call {
  Kind kind;
  View a, out, extra;
  double p;
  int64_t outer, n, inner;
};

void reduce(const Reduce& op);
void reduce_cuda(const Reduce& op, cuda::Stream& stream);

}  // namespace surprisal::reduce
