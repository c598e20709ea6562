// Maxima and means of windows: image (planes, D, H, W) -> result (planes, d, h, w); two-dimensional
// pools have D = d = 1. Along an axis window o holds positions o·stride - padding + k·dilation for
// k < kernel, those inside the image.
//   max  the first of equals, or the last NaN if there is one; `index` keeps where in its plane
//   avg  the sum over `divisor`, or where that is 0 over the window's positions: inside image and
//        padding with count_padding, else inside the image
// 16-bit floats are summed in float32. Gradients are added up plane by plane in order of windows:
// the same bits for any number of threads.
#pragma once
#include "core/view.h"

namespace surprisal::pool {

struct Pool {
  View image, result;
  View index;  // int32, like result: written by max if present, read by its gradient
  int64_t planes = 1;
  Dims size, result_size, kernel, stride, padding, dilation;  // of 3 axes each
  bool count_padding = true;
  int64_t divisor = 0;
};

void max_pool(const Pool& op);
void avg_pool(const Pool& op);
// From the gradient of the result to that of the image.
void max_pool_backward(const Pool& op);
void avg_pool_backward(const Pool& op);

}  // namespace surprisal::pool
