// Homotopy warping loss (Hu, NeurIPS 2022): the true mask is warped towards the predicted one and
// back by flipping simple voxels, which changes no topology; what still differs is critical.
//   towards the prediction, missed voxels leave the truth by their distance to its outside, then
//   false ones join it by their distance to it; alike the prediction towards the truth
//   loss = sum over critical voxels of the cross-entropy there
// Classes 1, 2, ... each against the rest; a voxel is critical if it is for any. Beyond the image
// is background. Voxels are simple as core/simple_points.h says, found there in a table.
#pragma once
#include "core/view.h"

namespace surprisal::warping {

struct Problem {
  View logits;  // (B, C, ...shape) any float dtype; of one channel its foreground's
  View target;  // class indices (B, ...shape) int32, int64; or masks like logits of any dtype
  Dims shape;   // spatial: 2 or 3 axes
  int64_t batch = 0, channels = 0;
  bool labels = false;
  int64_t ignore = -100;  // voxels of this index are right, whatever is predicted, and not counted
  bool corners = false;  // foreground is joined across corners, the background across faces; or the
                         // other way round
  int32_t reduction = 1;  // Reduction
  View critical;          // (B, ...shape) int32: the true class of critical voxels, -1 elsewhere
};
struct Forward : Problem {
  View loss;  // (1) or (B, ...shape): float64 for float64, else float32
};
struct Backward : Problem {
  View upstream, grad;
};

void forward(const Forward& op);
void backward(const Backward& op);

}  // namespace surprisal::warping
