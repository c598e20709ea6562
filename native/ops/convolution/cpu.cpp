#include "ops/convolution/op.h"

#define SURPRISAL_AVX512
#define SURPRISAL_BODY "ops/convolution/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::convolution {
namespace {

// The places that windows reach stay within a range in which no sum overflows.
constexpr int64_t kLimit = int64_t{1} << 40;

void check(const Convolution& op) {
  const Dims* all[] = {&op.size,   &op.kernel,  &op.result_size,
                       &op.stride, &op.padding, &op.dilation};
  for (const Dims* dims : all) {
    require(dims->rank == 3, "convolution: 3 axes");
    for (int axis = 0; axis < 3; ++axis)
      require((*dims)[axis] >= 0 && (*dims)[axis] < kLimit, "convolution: sizes");
  }
  for (int axis = 0; axis < 3; ++axis)
    require(op.kernel[axis] > 0 && op.stride[axis] > 0 && op.dilation[axis] > 0 &&
                op.kernel[axis] < kLimit / op.dilation[axis] &&
                op.result_size[axis] < kLimit / op.stride[axis],
            "convolution: windows");
  require(op.groups > 0 && op.channels % op.groups == 0 && op.filters % op.groups == 0,
          "convolution: groups of one size");
  require(op.image.dtype == op.filter.dtype && op.result.dtype == op.filter.dtype &&
              (!op.bias || op.bias.dtype == op.filter.dtype),
          "convolution: mixed dtypes");
  require(op.image.size == op.batch * op.channels * op.size.count() &&
              op.filter.size == op.filters * (op.channels / op.groups) * op.kernel.count() &&
              op.result.size == op.batch * op.filters * op.result_size.count(),
          "convolution: sizes differ");
}

}  // namespace

void convolve(const Convolution& op) {
  check(op);
  require(!op.bias || op.bias.size == op.filters, "convolution: one bias a filter");
  if (op.result.size) SURPRISAL_DISPATCH(convolution::convolve, op);
}
void convolve_image(const Convolution& op) {
  check(op);
  require(!op.bias || op.bias.size == op.channels, "convolution: one bias a channel");
  if (op.image.size) SURPRISAL_DISPATCH(convolution::convolve_image, op);
}
void convolve_filter(const Convolution& op) {
  check(op);
  if (op.filter.size) SURPRISAL_DISPATCH(convolution::convolve_filter, op);
}

}  // namespace surprisal::convolution
