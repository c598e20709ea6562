// How rows are held in registers (cuda/row_hold.h): by a few lanes, by a block, by a cluster, or,
// if none has the room, in parts that are read once more. A function of a row's length, its
// alignment and the device, never of the number of rows.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "core/portable.h"

namespace surprisal::cuda {

struct HoldPlan {
  int lanes = 8;  // of a warp that have a row; 0: blocks have
  int threads = 256;
  int cluster = 1;  // blocks a row, together
  int parts = 1;    // or blocks a row, one after the other
  int64_t blocks = 0;
};

struct HoldShape {
  int64_t rows = 0, columns = 0;
  DType dtype = DType::f32;
  bool aligned = true;  // the matrix begins on 16 bytes
  bool clusters = true;
};

constexpr int kLaneSlots = 4;   // of 16 bytes, that a lane holds of each matrix
constexpr int kBlockSlots = 8;  // and a thread of a block
constexpr int kHoldLanes[] = {8, 32};
constexpr int kHoldThreads[] = {64, 128, 256};
constexpr int kHoldClusters[] = {2, 4, 8};  // 8: the most that every sm_90 can place

constexpr int64_t slots_of_hold(const HoldShape& s) {
  const int64_t pack = 16 / size_of(s.dtype);
  if (s.aligned && s.columns % pack == 0) return s.columns / pack;
  return (s.columns + 2 * pack - 2) / pack;  // at the worst alignment
}

constexpr HoldPlan plan_hold(const HoldShape& s) {
  HoldPlan p;
  const int64_t slots = slots_of_hold(s);
  for (const int lanes : kHoldLanes) {
    p.lanes = lanes;
    if (slots <= lanes * kLaneSlots) {
      const int64_t each = p.threads / lanes;
      p.blocks = (s.rows + each - 1) / each;
      return p;
    }
  }
  p.lanes = 0;
  for (const int threads : kHoldThreads) {
    p.threads = threads;
    if (slots <= threads * kBlockSlots) {
      p.blocks = s.rows;
      return p;
    }
  }
  // Parts are cut for the worst alignment, whatever this row's.
  const int64_t pack = 16 / size_of(s.dtype), room = int64_t{p.threads} * kBlockSlots;
  const int64_t worst = (s.columns + 2 * pack - 2) / pack;
  if (s.clusters) {
    for (const int cluster : kHoldClusters) {
      if (worst > room * cluster) continue;
      p.cluster = cluster;
      p.blocks = s.rows * cluster;
      return p;
    }
  }
  p.parts = static_cast<int>((worst + room - 1) / room);
  p.blocks = s.rows * p.parts;
  return p;
}

}  // namespace surprisal::cuda
