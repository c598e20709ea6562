// Launch decisions of the CUDA form. A problem has three terms, (x,y), (x,x) and (y,y), of which
// the latter two are there if debiased; a team of blocks solves each of them in one launch:
//   one block a term   batches, and problems whose passes take less time than blocks need to meet;
//                      the scores lie in shared memory while they fit
//   many               few large problems: all blocks run together and meet after each half step
// No bit of a result depends on the team, on its threads or on where scores are held.
#pragma once
#include <algorithm>
#include <cstdint>

namespace surprisal::sinkhorn {

constexpr int kWarpRows = 4;        // rows of a warp
constexpr int kColumns = 128;       // of a tile
constexpr int kDepthPart = 16;      // features of a tile
constexpr int kMostThreads = 256;   // such a block fits a multiprocessor
constexpr int kSlots = 256;         // what a total is summed by
constexpr int64_t kHoldDepth = 16;  // fewer features are multiplied faster than scores are read
// Passes over fewer pairs are shorter for one block than for several with a barrier.
constexpr int64_t kTeamPairs = int64_t{1} << 16;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Sizes {
  int64_t batch = 1;
  int64_t n = 1, m = 1;  // the largest
  int64_t depth = 1;     // features; 0 for a given cost
  bool debias = false;
  int64_t element = 4;                 // bytes of a score
  int64_t held_bytes = 0;              // what all scores would take
  int64_t workspace = 0;               // what they may
  int64_t processors = 1, shared = 0;  // of the device
};

struct Launches {
  int threads = 32;
  int64_t cross = 1, self = 0;  // blocks of each term
  bool together = false;
  bool held_shared = false;  // scores in shared memory
  bool held = false;         // or in global memory
  int64_t tile_bytes = 0, shared = 0;

  constexpr int64_t blocks_each() const { return cross + 2 * self; }
};

// Of the tiles that all forms have.
constexpr int64_t tile_bytes(int64_t element) {
  return element * kDepthPart * (kColumns + kMostThreads / 32 * kWarpRows);
}

// Bytes of control in shared memory, before the tiles.
constexpr int64_t kControlBytes = 1024;

constexpr int64_t kPartBytes = 24;  // of a sum's part, team.h

constexpr int64_t shared_pairs(const Sizes& s) {
  const auto of = [](int64_t rows, int64_t columns) { return rows * (columns | 1); };
  const int64_t cross = of(s.n, s.m);
  return s.debias ? std::max({cross, of(s.n, s.n), of(s.m, s.m)}) : cross;
}

constexpr Launches plan_solve(const Sizes& s) {
  Launches plan;
  const int64_t most = std::max(s.n, s.m), least = std::min(s.n, s.m);
  // Three quarters of the work of a debiased problem are the cross term's.
  const int64_t share = s.processors / std::max<int64_t>(1, s.batch);
  const bool many = s.n * s.m > kTeamPairs && share >= (s.debias ? 6 : 2);
  plan.self = s.debias ? 1 : 0;
  plan.tile_bytes = tile_bytes(s.element);
  plan.shared = kControlBytes + plan.tile_bytes;
  if (many) {
    const int64_t cross = s.debias ? 4 * (share / 6) : share;
    const auto fills = [&](int threads) {
      return ceil_div(least, threads / 32 * kWarpRows) >= cross;
    };
    plan.threads = fills(256) ? 256 : fills(128) ? 128 : 64;
    const int64_t rows = plan.threads / 32 * kWarpRows;
    plan.cross = std::min(cross, ceil_div(most, rows));
    plan.self = s.debias ? std::min(share / 6, ceil_div(most, rows)) : 0;
    plan.together = true;
  } else {
    plan.threads = most <= 32 ? 32 : most <= 128 ? 128 : 256;
    const int64_t bytes = plan.shared + shared_pairs(s) * s.element;
    plan.held_shared = bytes <= s.shared;
    if (plan.held_shared) plan.shared = bytes;
  }
  plan.held = !plan.held_shared && s.depth >= kHoldDepth && s.held_bytes <= s.workspace;
  return plan;
}

}  // namespace surprisal::sinkhorn
