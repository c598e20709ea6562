// Resampling of image (planes, D, H, W) to result (planes, d, h, w) along each axis:
//   nearest  position o reads ⌊o·scale⌋
//   linear   weights (1 - f, f) of ⌊s⌋ and ⌊s⌋ + 1, s = max(0, scale (o + 1/2) - 1/2), or with
//            align_corners s = scale·o; products of the axes' weights in several dimensions
// scale is the image's size over the result's, or what is given (> 0); with align_corners
// (D - 1)/(d - 1). Positions are computed in the compute type (float32; float64 for float64), as
// PyTorch does. The gradient adds each plane in order: the same bits for any number of threads.
#pragma once
#include "core/view.h"

namespace surprisal::interpolate {

struct Interpolate {
  View image, result;
  int64_t planes = 1;
  Dims size, result_size;                        // of 3 axes each
  double scale_z = 0, scale_y = 0, scale_x = 0;  // 0: from the sizes
  bool linear = false, align_corners = false;
};

void interpolate(const Interpolate& op);
// From the gradient of the result to that of the image.
void interpolate_backward(const Interpolate& op);

}  // namespace surprisal::interpolate
