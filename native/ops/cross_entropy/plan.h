// Which CUDA kernel takes rows of V logits, and how it is launched: pure arithmetic, so that a
// machine without a GPU tests every decision. Nothing of it depends on where a row lies, and only
// `rows_each`, which changes no bit of a result, on the number of rows.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/dtype.h"

namespace surprisal::cross_entropy {

enum class Storage : int32_t {
  registers,  // `lanes` lanes a row, up to slots_each 16-byte slots in each
  shared,     // a block or a cluster a row, slots_each slots of shared memory a thread
  split,      // `parts` blocks a row, then their sums, then a second read for the gradient
};

struct Plan {
  Storage storage = Storage::registers;
  int threads = 256;
  int lanes = 32;
  int slots_each = 4;
  int cluster = 1;
  int parts = 1;
  int rows_each = 1;
  int64_t shared = 0;  // bytes of slots, and of what lies between them
};

struct PlanShape {
  int64_t rows = 0, columns = 0;
  DType dtype = DType::f32;
  bool plain = true;  // no softcap, smoothing or probabilities, and not float64
  // Of the device.
  int processors = 132;
  bool clusters = true;
  int64_t shared = 232448, shared_per_sm = 233472;
};

// Plain rows of up to lanes x slots_each slots are held in registers; with 12 slots, 48 registers,
// two blocks of 256 share a multiprocessor and have 96 KiB of loads in flight. 16 would spill a few
// registers around the row's double arithmetic, and float32, whose exponential takes more of them,
// spills above 8. Other losses have one kernel, to compile in time.
struct RegisterLimit {
  int lanes, slots_each;
};
constexpr RegisterLimit kRegisterLimits[] = {{8, 4}, {32, 4}, {32, 8}, {32, 12}};
constexpr int most_slots_each(int64_t element_bytes) { return element_bytes == 2 ? 12 : 8; }
// Three blocks of 72 KiB of slots share a multiprocessor: while one reduces, two load or store.
constexpr int64_t kSlotsOfThree = 4592;
// Threads of a block, by the slots of its part: four or more slots a thread.
struct BlockSize {
  int64_t slots;
  int threads;
};
constexpr BlockSize kBlockSizes[] = {{64, 32}, {256, 64}, {1024, 128}, {INT64_MAX, 256}};
constexpr int kClusters[] = {1, 2, 4, 8};  // 8: the most that every sm_90 can place
constexpr int64_t kSlotsOfPart = 4096;     // of a split row
constexpr int kChunksOfSlots = 4;          // cuda/row_pass.h: kChunks
constexpr int64_t kTeamBytes = 1024;       // a block's shared memory beside its slots, at most
constexpr int kLongestStay = 8;            // rows a block takes in turn, at most
constexpr int kWavesLeft = 8;              // blocks per place, at least, to share work evenly

// Whole slots of a row's columns: what is left beyond them is not kept.
inline int64_t slots_of_row(const PlanShape& s) { return s.columns * size_of(s.dtype) / 16; }
// The same of one of several parts, the rest of the row's columns with them.
inline int64_t slots_of_part(const PlanShape& s, int64_t parts) {
  const int64_t pack = 16 / size_of(s.dtype);
  return ((s.columns + pack - 1) / pack + parts - 1) / parts;
}
// Places of `slots` slots of columns in shared memory: a row that shifts has one more, and behind
// each 32 there is another place (cuda/row_pass.h).
inline int64_t places_of(int64_t slots) { return slots + slots / 32 + 1; }

inline Plan plan_rows(const PlanShape& s) {
  Plan p;
  const int64_t slots = slots_of_row(s);
  for (const RegisterLimit& limit : kRegisterLimits) {
    const int most = most_slots_each(size_of(s.dtype));
    if (!s.plain || limit.slots_each > most || slots > int64_t(limit.lanes) * limit.slots_each)
      continue;
    p.lanes = limit.lanes;
    p.slots_each = limit.slots_each > 4 ? most : 4;
    return p;
  }
  const int64_t most = (s.shared - kTeamBytes) / 16;  // places of a block that has a multiprocessor
  p.storage = Storage::shared;
  if (s.clusters) {
    for (const int cluster : kClusters) {
      p.cluster = cluster;
      if (slots <= kSlotsOfThree * cluster) break;
    }
  }
  int64_t part = p.cluster == 1 ? slots : slots_of_part(s, p.cluster);
  const auto room = [&](int64_t of_part) {
    for (const BlockSize& size : kBlockSizes) {
      p.threads = size.threads;
      if (of_part <= size.slots) break;
    }
    const int64_t chunk = (of_part + p.threads * kChunksOfSlots - 1) / (p.threads * kChunksOfSlots);
    p.slots_each = static_cast<int>(chunk * kChunksOfSlots);
    p.shared = 16 * places_of(of_part);
    return places_of(of_part) <= most;
  };
  if (!room(part)) {
    p.storage = Storage::split;
    p.cluster = 1;
    p.parts = static_cast<int>((slots_of_part(s, 1) + kSlotsOfPart - 1) / kSlotsOfPart);
    part = slots_of_part(s, p.parts);
    room(part);
  }
  const int64_t places =
      s.processors * std::max<int64_t>(1, s.shared_per_sm / (p.shared + kTeamBytes)) / p.cluster;
  const int64_t units = s.rows * p.parts;
  p.rows_each = static_cast<int>(
      std::clamp<int64_t>(units / std::max<int64_t>(1, kWavesLeft * places), 1, kLongestStay));
  return p;
}

// The gradient of probabilities: threads a row, and blocks a row.
struct GradientPlan {
  int lanes = 256, parts = 1;
};
constexpr int64_t kSlotsOfLane = 4;      // up to here a few lanes take a row
constexpr int64_t kSlotsOfBlock = 8192;  // of a row, for a block of 256

inline GradientPlan plan_gradient(const PlanShape& s) {
  const int64_t slots = slots_of_row(s);
  if (slots <= 8 * kSlotsOfLane) return {8, 1};
  if (slots <= 32 * kSlotsOfLane) return {32, 1};
  return {256, static_cast<int>((slots + kSlotsOfBlock - 1) / kSlotsOfBlock)};
}

}  // namespace surprisal::cross_entropy
