#include "ops/channel_norm/op.h"

#define SURPRISAL_BODY "ops/channel_norm/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::channel_norm {
namespace {

bool fits(const View& v, DType dtype, int64_t size) {
  return !v || (v.dtype == dtype && v.size == size);
}
DType compute_dtype(const View& x) { return x.dtype == DType::f64 ? DType::f64 : DType::f32; }

template <class Op>
void check(const Op& op) {
  const DType wide = compute_dtype(op.x);
  const int64_t statistics = op.groups ? op.batch * op.groups : op.channels;
  require(op.x.size == op.batch * op.channels * op.size, "channelNorm: x has another size");
  require(op.groups == 0 || op.channels % op.groups == 0, "channelNorm: groups of one size");
  require(fits(op.weight, op.x.dtype, op.channels), "channelNorm: one weight a channel");
  require(op.mean && op.r && fits(op.mean, wide, statistics) && fits(op.r, wide, statistics),
          "channelNorm: statistics have another size");
}

}  // namespace

void forward(const Forward& op) {
  check(op);
  require(op.y && fits(op.y, op.x.dtype, op.x.size), "channelNorm: y differs from x");
  require(fits(op.bias, op.x.dtype, op.channels), "channelNorm: one bias a channel");
  for (const View* v : {&op.running_mean, &op.running_var})
    require(!*v || (is_float(v->dtype) && v->size == op.channels && op.groups == 0 &&
                    (v->dtype == DType::f64) <= (op.x.dtype == DType::f64)),
            "channelNorm: running statistics");
  require(!op.fixed || (op.running_mean && op.running_var), "channelNorm: nothing is fixed");
  if (op.x.size) SURPRISAL_DISPATCH(channel_norm::forward, op);
}

void backward(const Backward& op) {
  check(op);
  const DType dtype = op.x.dtype;
  require(op.g && fits(op.g, dtype, op.x.size), "channelNorm: g differs from x");
  require(fits(op.dx, dtype, op.x.size) && fits(op.dweight, dtype, op.channels) &&
              fits(op.dbias, dtype, op.channels),
          "channelNorm: gradients have another size");
  // Without an item the weight gradients are zeros.
  if (op.channels) SURPRISAL_DISPATCH(channel_norm::backward, op);
}

}  // namespace surprisal::channel_norm
