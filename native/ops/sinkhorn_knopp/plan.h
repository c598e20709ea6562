// How sinkhornKnopp is launched: pure functions of sizes, tested without a GPU. What adds up what
// is a matter of N and M alone (rows_of_chunk, kThinColumns), never of how many blocks there are.
#pragma once
#include <algorithm>
#include <cstdint>

namespace surprisal::sinkhorn_knopp {

struct Sizes {
  int64_t batch = 0, n = 0, m = 0, iterations = 0;
  bool gradient = false;
  int64_t element = 4;  // bytes of what is iterated
  int64_t processors = 0, shared = 0;
};

constexpr int64_t kLaneSide = 4;      // largest matrix of a thread, which holds it in registers
constexpr int kLaneThreads = 128;     // of a block
constexpr int64_t kThinColumns = 32;  // up to this a thread has a row, beyond it a warp
constexpr int64_t kBroad = 65536;     // elements from which blocks share a matrix
constexpr int64_t kGroupShared = 48 * 1024;  // bytes of a block of several matrices
// Bytes that matrices in work keep in device memory: fewer are in work at once where they keep
// much, but never less than one (a warp's, of those of lanes).
constexpr int64_t kScratch = int64_t{256} << 20;
constexpr int64_t kAlign = 256;  // of arrays in it

// Of a block; backward takes more registers.
constexpr int most_threads(bool gradient) { return gradient ? 256 : 512; }

constexpr int64_t divided_up(int64_t n, int64_t d) { return (n + d - 1) / d; }

// Rows that a column's sum is first taken over.
constexpr int64_t rows_of_chunk(int64_t n) {
  return n <= 32 ? n : std::max<int64_t>(16, divided_up(n, 128));
}
constexpr int64_t chunks_of(int64_t n) { return divided_up(n, rows_of_chunk(n)); }

// Numbers that a matrix is iterated with: sums, derivatives, u and v of every step that backward
// needs, and then what it makes of them; parts of the columns' sums.
constexpr int64_t kept_numbers(const Sizes& s) {
  const int64_t sides = s.n + s.m;
  const int64_t steps = s.gradient ? 2 * (s.iterations + 1) * sides + 2 * sides : sides;
  return 2 * sides + steps + (chunks_of(s.n) > 1 ? chunks_of(s.n) * s.m : 0);
}
// v of every step, of a block of threads that have a matrix each.
constexpr int64_t lane_bytes(const Sizes& s) {
  return s.gradient ? s.iterations * kLaneSide * kLaneThreads * s.element : 0;
}

// Its threads have a matrix each.
constexpr bool in_lanes(const Sizes& s) {
  return s.n <= kLaneSide && s.m <= kLaneSide && lane_bytes(s) <= s.shared;
}

struct Teams {
  int threads = 0;         // of a block
  int each = 0;            // of a block that have one matrix
  int64_t blocks = 1;      // that have one matrix, together
  int64_t count = 0;       // of matrices at a time
  int64_t chunks = 0;      // of rows, of a block
  bool held = false;       // K lies in shared memory, else in scratch
  bool kept_here = false;  // so do the other numbers
  int64_t shared = 0;      // bytes of a block
  int64_t numbers = 0;     // of a matrix in scratch
};

constexpr int64_t row_length(const Sizes& s) { return s.m | 1; }

constexpr int64_t aligned(int64_t bytes) { return divided_up(bytes, kAlign) * kAlign; }
// Of all of the plan's: counters, extents and numbers.
constexpr int64_t scratch_bytes(const Teams& t, int64_t element) {
  return aligned(t.count * 4) + aligned(t.count * t.blocks * 3 * element) +
         aligned(t.count * t.numbers * element);
}
// Matrices of so many bytes each that are in work at once.
constexpr int64_t fitting(int64_t bytes) {
  return std::max<int64_t>(1, kScratch / std::max<int64_t>(1, bytes));
}

// A team of up to 32 lanes, several in a block.
constexpr Teams plan_groups(const Sizes& s) {
  Teams t;
  const int64_t most = std::max(s.n, s.m);
  t.each = most <= 8 ? 8 : most <= 16 ? 16 : 32;
  t.held = true;
  t.chunks = 1;
  const int64_t k = s.n * row_length(s) * s.element, kept = kept_numbers(s) * s.element;
  const int64_t least = 32 / t.each;  // teams of a warp
  t.kept_here = least * (k + kept) <= s.shared;
  const int64_t own = k + (t.kept_here ? kept : 0);
  int64_t teams = 128 / t.each;
  t.numbers = t.kept_here ? 0 : kept_numbers(s);
  const int64_t fit = fitting(t.numbers * s.element);
  while (teams > least && (teams * own > kGroupShared || teams > fit)) teams /= 2;
  t.threads = static_cast<int>(teams * t.each);
  t.shared = teams * own;
  // Beyond what is resident, blocks go on with further matrices.
  const int64_t resident = s.processors * (t.kept_here ? 64 : 8);
  const int64_t blocks = std::min(resident, std::max<int64_t>(1, fit / teams));
  t.count = std::min(divided_up(s.batch, teams), blocks) * teams;
  return t;
}

// A block, or blocks together so that a large matrix lies in their shared memory.
constexpr Teams plan_blocks(const Sizes& s) {
  Teams t;
  const int64_t size = s.n * s.m, all = chunks_of(s.n);
  t.threads = size <= 4096     ? 64
              : size <= 16384  ? 128
              : size <= kBroad ? 256
                               : most_threads(s.gradient);
  t.each = t.threads;
  const int64_t kept = kept_numbers(s) * s.element;
  const auto bytes = [&](int64_t blocks) {
    const int64_t rows = std::min(s.n, divided_up(all, blocks) * rows_of_chunk(s.n));
    return rows * row_length(s) * s.element;
  };
  // Left for K: kShared of teams_device.h.
  constexpr int64_t kOwn = 1024;
  const int64_t most = std::min(all, s.processors);
  if (size >= kBroad) {
    const int64_t at_once = std::min(s.batch, fitting(kept));
    const int64_t share = s.processors / std::max<int64_t>(1, at_once);
    t.blocks = std::min(most, std::max<int64_t>(1, share));
    while (t.blocks < most && bytes(t.blocks) + kOwn > s.shared) ++t.blocks;
  }
  t.chunks = divided_up(all, t.blocks);
  t.blocks = divided_up(all, t.chunks);
  t.held = bytes(t.blocks) + kOwn <= s.shared;
  t.kept_here = t.blocks == 1 && t.held && bytes(1) + kept + kOwn <= s.shared;
  t.shared = kOwn + (t.held ? bytes(t.blocks) : 0) + (t.kept_here ? kept : 0);
  const int64_t beside = t.blocks > 1 || !t.held ? 1 : t.kept_here ? 32 : 4;
  t.numbers = (t.held ? 0 : s.n * row_length(s)) + (t.kept_here ? 0 : kept_numbers(s));
  const int64_t resident = std::max<int64_t>(1, s.processors * beside / t.blocks);
  t.count = std::min({s.batch, resident, fitting(t.numbers * s.element)});
  return t;
}

constexpr Teams plan_teams(const Sizes& s) {
  return std::max(s.n, s.m) <= 32 ? plan_groups(s) : plan_blocks(s);
}

// By logarithms a block has a matrix; large ones all blocks, which run together and share those
// that they find listed. Backward needs the potentials of every step, and what it makes of them.
constexpr int64_t kLogThreads = 256;
struct Logs {
  int64_t blocks = 0, count = 0, numbers = 0;  // matrices at a time; numbers of one
  bool together = false;
};
constexpr Logs plan_logs(const Sizes& s) {
  const int64_t sides = s.n + s.m, size = s.n * s.m;
  Logs l;
  l.numbers = s.gradient ? (s.iterations + 1) * sides + 2 * sides + size : sides;
  l.together = size >= kBroad;
  // Rows and columns that blocks have at a time: logs_device.h.
  const int64_t parts = std::max(divided_up(s.n, 8), divided_up(s.m, 32));
  l.blocks = std::min(l.together ? s.batch * parts : s.batch, 2 * s.processors);
  l.count = std::min({s.batch, l.blocks, fitting(l.numbers * 8)});
  if (!l.together) l.blocks = l.count;
  return l;
}
constexpr int64_t scratch_bytes(const Logs& l) {
  return aligned(l.count * 4) + aligned(l.count * l.numbers * 8);
}

// The largest of what the launches take one after the other.
constexpr int64_t scratch_of_all(Sizes s) {
  int64_t most = scratch_bytes(plan_logs(s));
  if (!in_lanes(s)) most = std::max(most, scratch_bytes(plan_teams(s), s.element));
  s.element = 8;
  return std::max(most, scratch_bytes(plan_teams(s), 8));
}

}  // namespace surprisal::sinkhorn_knopp
