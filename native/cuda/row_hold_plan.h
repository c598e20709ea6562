// How rows are held in registers (cuda/row_hold.h): by a few lanes, by a block, by a cluster, or,
// if none has the room, in parts that are read once more. A function of a row's length and the
// device, never of where a row lies or of how many there are: who adds what must not depend on it.
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
  bool clusters = true;
};

constexpr int kLaneSlots = 4;   // of 16 bytes, that a lane holds of each matrix
constexpr int kBlockSlots = 8;  // and a thread of a block
constexpr int kHoldLanes[] = {8, 32};
constexpr int kHoldThreads[] = {64, 128, 256};
constexpr int kHoldClusters[] = {2, 4, 8};  // 8: the most that every sm_90 can place

constexpr HoldPlan plan_hold(const HoldShape& s) {
  HoldPlan p;
  const int64_t pack = 16 / size_of(s.dtype), slots = (s.columns + pack - 1) / pack;
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
  const int64_t room = int64_t{p.threads} * kBlockSlots;
  if (s.clusters) {
    for (const int cluster : kHoldClusters) {
      if (slots > room * cluster) continue;
      p.cluster = cluster;
      p.blocks = s.rows * cluster;
      return p;
    }
  }
  p.parts = static_cast<int>((slots + room - 1) / room);
  p.blocks = s.rows * p.parts;
  return p;
}

}  // namespace surprisal::cuda
