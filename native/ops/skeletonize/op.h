// Skeletons of masks by thinning, as Lee, Kashyap and Chu (1994) order it: in turn for each of the
// four (in volumes six) directions, the border voxels there that are simple and no ends of lines
// are found together and then deleted one by one, each only if it is still simple; until nothing
// changes. A voxel is simple where (Bertrand and Malandain 1994) its neighbours in the object, of
// which corners touch, are one component, and those in the background, joined by faces, of which
// one touches it, are one too: then no component, hole or cavity appears or goes.
// A tube is the skeleton dilated by the cross, `radius` times, where the mask is.
#pragma once
#include "core/view.h"

namespace surprisal::skeletonize {

struct Forward {
  View mask;    // (N, planes, rows, columns) of any dtype: what is above 0 is the object
  View result;  // like mask, and its values on the skeleton or tube, else 0
  int64_t images = 0, planes = 0, rows = 0, columns = 0;
  bool volume = false;     // three axes; else one plane
  bool per_value = false;  // each value of the mask apart
  int64_t radius = 0;
  // Of targets of the skeleton recall loss: class indices are refused outside [0, classes) but for
  // `ignored`, which is background and stays as it is.
  int64_t classes = 0;
  int64_t ignored = -1;
};

void forward(const Forward& op);

}  // namespace surprisal::skeletonize
