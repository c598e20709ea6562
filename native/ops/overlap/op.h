// Losses of the overlap of regions: images of probabilities p (B, C, S) against targets t, each
// channel of an image (or of the batch) with sums over its voxels of weight w,
//   I = sum w p t,  P = sum w p^e,  T = sum w t^e,  index = (kI + s) / (uI + aP + bT + s)
//   loss = (h - index)^g, h = 1 but for recall
//     Dice (Milletari et al. 2016)      k 2, u 0,     a 1,     b 1,    e 1 or 2
//     Jaccard (Rahman and Wang 2016)    k 1, u -1,    a 1,     b 1,    e 1 or 2
//     Tversky (Salehi et al. 2017)      k 1, u 1-a-b, a alpha, b beta, e 1; with an exponent g:
//     focal
//                                       Tversky (Abraham and Khan 2019, g = 1/gamma there)
//     recall of skeletons (Kirchhoff et al. 2024)  k 1, u 0, a 0, b 1, h 0
// Nothing of the images' size is stored but the gradient: backward reads them again.
#pragma once
#include "core/labels.h"

namespace surprisal::overlap {

struct Problem {
  View image;   // (B, C, S) any float dtype
  View target;  // the same of any dtype, or class indices (B, S), int32 or int64
  View weight;  // (B, S) any float dtype, may be absent
  int64_t batch = 0, channels = 0, voxels = 0;
  bool labels = false;  // the target holds class indices
  int64_t ignore = -100;
  Activation activation() const { return static_cast<Activation>(how); }
  int32_t how = 0;
  bool squared = false;
  int32_t caller = 0;  // Dice, Jaccard, Tversky, skeleton recall: whose name errors bear
};

struct Forward : Problem {
  double k = 0, u = 0, a = 0, b = 0, smooth = 1, exponent = 1, from = 1;
  bool over_batch = false;    // sums of the whole batch
  int64_t first_channel = 0;  // those before it have no loss
  int32_t reduction = 1;      // Reduction
  View loss;    // (1), or (B or 1, C - first_channel): float64 for float64, else float32
  View slopes;  // (B, C, 2) float64: of the loss of its channel by I and P; may be absent
};
struct Backward : Problem {
  bool over_batch = false;
  int64_t first_channel = 0;
  int32_t reduction = 1;
  View slopes, upstream;
  View grad;  // like image
};

void forward(const Forward& op);
void backward(const Backward& op);

}  // namespace surprisal::overlap
