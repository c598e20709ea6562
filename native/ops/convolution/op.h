// Cross-correlation in up to three dimensions and its two adjoints, by implicit GEMM:
//   result[b, o, q] = bias[o] + Σ_c,k filter[o, c, k] image[b, c, q·stride - padding + k·dilation]
// image (B, C, D, H, W), filter (O, C/groups, kernel), result (B, O, d, h, w); channels c of the
// group of o; zeros outside the image; two dimensions have D = d = 1 and a kernel of depth 1.
//   convolve          result from image and filter                (the sum above)
//   convolve_image    image from result and filter: Σ_o,k, plus bias[c]       (transposed)
//   convolve_filter   filter from image and result: Σ_b,q
// Panels of shifted pixels are packed for the GEMM micro-kernel as they are needed: memory is the
// packed filter and a few blocks per thread. Sums run in an order that depends on the shapes alone,
// and never on other items of the batch; 16-bit floats accumulate in float32.
#pragma once
#include "core/view.h"

namespace surprisal::convolution {

struct Convolution {
  View image, filter, result;
  View bias;  // optional; (O) for convolve, (C) for convolve_image
  int64_t batch = 1, channels = 1, filters = 1, groups = 1;   // B, C, O
  Dims size, kernel, result_size, stride, padding, dilation;  // of 3 axes each; padding before
};

void convolve(const Convolution& op);
void convolve_image(const Convolution& op);
void convolve_filter(const Convolution& op);

}  // namespace surprisal::convolution
