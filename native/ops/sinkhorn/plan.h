// Launch decisions of the CUDA form. A problem has three terms, (x,y), (x,x) and (y,y), of which
// the latter two are there if debiased; a team of blocks solves each of them in one launch:
//   one block a term   batches, and problems whose passes take less time than blocks need to meet;
//                      the scores lie in shared memory while they fit
//   many               few large problems: all blocks run together and meet after each half step;
//                      the largest have their terms solved one after the other, by all blocks,
//                      since self terms end early
// Large problems whose scores are products of many features have them made by tensor cores
// (products_device.h), which is a matter of sizes alone. No bit of a result depends on the team, on
// its threads or on where scores are held.
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

// Above, idle blocks cost more than the barriers of terms in turn.
constexpr int64_t kTurnPairs = int64_t{1} << 23;

// Tensor cores: the rows and the columns of a tile, the features of a step. Below so many pairs
// tiles are too few for all processors, and scores are held in the second-level cache.
constexpr int kProductRows = 128, kProductColumns = 32, kProductDepth = 32;
constexpr int64_t kProductPairs = int64_t{1} << 18;
constexpr int kProductThreads = 256;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Sizes {
  int64_t batch = 1;
  int64_t n = 1, m = 1;  // the largest
  int64_t depth = 1;     // features; 0 for a given cost
  bool debias = false;
  bool dots = false;                   // scores are the points' products and nothing else
  int64_t element = 4;                 // bytes of a score
  int64_t held_bytes = 0;              // what all scores would take
  int64_t workspace = 0;               // what they may
  int64_t processors = 1, shared = 0;  // of the device

  // Of the problems that are computed in double though their points are float32. Few, and nothing
  // is held for them in global memory.
  constexpr Sizes wide() const {
    Sizes s = *this;
    s.element = 8;
    s.workspace = -1;
    return s;
  }
};

struct Launches {
  int threads = 32;
  int64_t cross = 1, self = 0;  // blocks of each term
  bool together = false;
  bool in_turn = false;      // self terms by the blocks of (x,y), which say `cross`
  bool held_shared = false;  // scores in shared memory
  bool held = false;         // or in global memory
  bool products = false;     // by tensor cores
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

// Beside the rows of a tile: columns on their way, weights and sums; products_device.h.
constexpr int64_t kProductBytes = 56 * 1024;
// 16-bit floats of a point, two a feature.
constexpr int64_t halves_of(int64_t depth) {
  return 2 * kProductDepth * ceil_div(depth, kProductDepth);
}
constexpr int64_t product_bytes(int64_t depth) {
  return kControlBytes + kProductBytes + kProductRows * halves_of(depth) * 2;
}
constexpr bool has_products(int64_t n, int64_t m) {
  return n * m > kProductPairs && n + m < int64_t{1} << 30;  // places are ints
}
// Of the largest problem; the smaller ones of its batch may still do without.
constexpr bool has_products(const Sizes& s) {
  return s.dots && s.element == 4 && s.depth >= kHoldDepth && has_products(s.n, s.m) &&
         product_bytes(s.depth) <= s.shared;
}
// Whole pairs of tiles, `most` chunks at most.
constexpr int chunk_of(int64_t columns, int64_t most) {
  constexpr int64_t kTwo = 2 * kProductColumns;
  return static_cast<int>(std::max<int64_t>(128, ceil_div(ceil_div(columns, most), kTwo) * kTwo));
}

// What a block of a pass does: units, each a band of rows by a chunk of columns. A row's sum is
// added up by its chunks. Of both sums of a pass units are squares, which the columns' sums are
// added up by; of a measure and itself those of a triangle, whose columns' sums are those of rows.
struct ProductUnits {
  int rows = 0, columns = 0;
  int row_chunk = kProductRows, chunk = 0;
  bool triangle = false;

  struct Unit {
    int band, chunk;
    int row, row_end, from, to;
  };
  constexpr int bands() const { return (rows + row_chunk - 1) / row_chunk; }
  constexpr int chunks() const { return (columns + chunk - 1) / chunk; }
  constexpr int64_t count() const {
    return triangle ? int64_t{chunks()} * (chunks() + 1) / 2 : int64_t{bands()} * chunks();
  }
  // Neighbours share their rows.
  constexpr Unit at(int u) const {
    Unit unit{u / chunks(), u % chunks(), 0, 0, 0, 0};
    if (triangle) {
      for (unit.band = 0; u >= chunks() - unit.band; ++unit.band) u -= chunks() - unit.band;
      unit.chunk = unit.band + u;
    }
    unit.row = unit.band * row_chunk;
    unit.row_end = unit.row + row_chunk < rows ? unit.row + row_chunk : rows;
    unit.from = unit.chunk * chunk;
    unit.to = unit.from + chunk < columns ? unit.from + chunk : columns;
    return unit;
  }
};

constexpr int64_t kMostChunks = 16, kMostBands = 32;
constexpr int64_t kMostSquare = 4096;  // columns whose sums fit in shared memory
// What a pass adds up: the rows' sums; both, from one power a pair; of a measure and itself those
// of a triangle.
enum class PassSums : int32_t { rows, both, triangle };
constexpr ProductUnits units_of(PassSums sums, int64_t rows, int64_t columns) {
  ProductUnits units;
  units.rows = static_cast<int>(rows);
  units.columns = static_cast<int>(columns);
  units.chunk = chunk_of(columns, sums == PassSums::rows ? kMostChunks : kMostBands);
  units.triangle = sums == PassSums::triangle;
  if (sums != PassSums::rows) units.row_chunk = chunk_of(rows, kMostBands);
  return units;
}
constexpr bool has_squares(int64_t n, int64_t m) {
  return chunk_of(std::max(n, m), kMostBands) <= kMostSquare;
}

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
  plan.in_turn = many && s.debias && s.n * s.m >= kTurnPairs;
  const bool beside = s.debias && !plan.in_turn;
  plan.self = beside ? 1 : 0;
  plan.together = many;
  plan.products = has_products(s);
  plan.tile_bytes = tile_bytes(s.element);
  plan.shared = plan.products ? product_bytes(s.depth) : kControlBytes + plan.tile_bytes;
  plan.threads = plan.products ? kProductThreads : most <= 32 ? 32 : most <= 128 ? 128 : 256;
  if (many) {
    plan.cross = beside ? 4 * (share / 6) : share;
    plan.self = beside ? share / 6 : 0;
    const auto fills = [&](int threads) {
      return ceil_div(least, threads / 32 * kWarpRows) >= plan.cross;
    };
    if (!plan.products) plan.threads = fills(256) ? 256 : fills(128) ? 128 : 64;
    const int64_t rows = ceil_div(most, plan.threads / 32 * kWarpRows);
    const auto units = [&](int64_t n, int64_t m) {
      return plan.products ? units_of(PassSums::rows, n, m).count() : rows;
    };
    const int64_t all = plan.in_turn ? units(most, most) : 0;
    plan.cross = std::min(plan.cross, std::max({units(s.n, s.m), units(s.m, s.n), all}));
    plan.self = std::min(plan.self, units(most, most));
  } else if (!plan.products) {
    const int64_t bytes = plan.shared + shared_pairs(s) * s.element;
    plan.held_shared = bytes <= s.shared;
    if (plan.held_shared) plan.shared = bytes;
  }
  plan.held =
      !plan.products && !plan.held_shared && s.depth >= kHoldDepth && s.held_bytes <= s.workspace;
  return plan;
}

}  // namespace surprisal::sinkhorn
