// Maps of region-wise loss (Valverde and Tohka, Pattern Recognition 2023): of each class, inside
// its region -distance to the nearest voxel outside over the largest such distance, outside a
// constant (theirs is 1); of a region that is everything, -1. The loss is the mean of probability
// times map.
#pragma once
#include "core/view.h"

namespace surprisal::region_wise {

struct Map {
  View target;  // class indices (B, ...shape) int32, int64; or masks (B, C, ...shape) of any dtype
  Dims shape;   // spatial: 1 to 3 axes
  int64_t batch = 0, channels = 0;
  bool labels = false;
  int64_t ignore = -100;  // voxels of this index are of no class, and 0 in the map
  int32_t caller = 0;     // kCallers
  View spacing;           // (axes) float64: sizes of a voxel
  View outside;           // (channels) float64
  View map;               // (B, C, ...shape) float32 or float64
  // (B, ...shape) like map, may be absent: 0 for ignored voxels, for the others of an image what
  // makes a sum over all of its voxels, divided by their number, a mean over these.
  View weights;
};
constexpr const char* kCallers[] = {"regionWiseMap", "regionWiseLoss"};

void map(const Map& op);

}  // namespace surprisal::region_wise
