// The axes of a reduction after those of size 1 are dropped and neighbours of one fate are merged.
#pragma once
#include "core/view.h"

namespace surprisal::reduce {

struct Axes {
  int rank = 0;
  int64_t size[kMaxRank];
  bool reduced[kMaxRank];
};

inline Axes merged(const Dims& shape, int32_t mask) {
  Axes axes;
  for (int d = 0; d < shape.rank; ++d) {
    const bool reduced = mask >> d & 1;
    if (shape.size[d] == 1) continue;
    if (axes.rank && axes.reduced[axes.rank - 1] == reduced) {
      axes.size[axes.rank - 1] *= shape.size[d];
    } else {
      axes.size[axes.rank] = shape.size[d];
      axes.reduced[axes.rank++] = reduced;
    }
  }
  return axes;
}

}  // namespace surprisal::reduce
