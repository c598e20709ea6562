// The soft skeleton of images by min and max pooling (Shit et al. 2021, algorithm 1), as
// cpu/soft_skeleton.h defines it, and its gradient. Nothing is stored for backward: it erodes
// again. Images are swept by rows or planes, of which a few of each level are held.
#pragma once
#include "core/view.h"

namespace surprisal::soft_skeleton {

struct Problem {
  View image;  // (N, planes, rows, columns) any float dtype
  int64_t images = 0, planes = 0, rows = 0, columns = 0;
  bool volume = false;  // three axes; else one plane
  int64_t iterations = 10;
};
struct Forward : Problem {
  View skeleton;  // like image
};
struct Backward : Problem {
  View upstream;  // like image
  View grad;      // like image
};

void forward(const Forward& op);
void backward(const Backward& op);

}  // namespace surprisal::soft_skeleton
