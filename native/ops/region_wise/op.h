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
  int32_t caller = 0;  // kCallers
  View spacing;        // (axes) float64: sizes of a voxel
  View outside;        // (channels) float64
  View map;            // (B, C, ...shape) float32 or float64
};
constexpr const char* kCallers[] = {"regionWiseMap", "regionWiseLoss"};

void map(const Map& op);

}  // namespace surprisal::region_wise
