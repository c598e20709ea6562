// How emd1d and slicedWasserstein are launched: pure functions of sizes, tested without a GPU.
#pragma once
#include <algorithm>
#include <cstdint>

namespace surprisal::emd1d {

constexpr int64_t kTile = 2048;                   // points that a block sorts in shared memory
constexpr int64_t kMergeRun = 8;                  // of a thread that merges sorted runs
constexpr int64_t kProjected = 8;                 // lines or features that a thread takes at a time
constexpr int kThreads = 256;                     // of blocks whose threads share nothing
constexpr int kLineThreads = 256;                 // most of a block that has a line
constexpr int64_t kMostLines = 256;               // that are in work at once
constexpr int64_t kScratch = int64_t{256} << 20;  // bytes of what is in work

constexpr int64_t divided_up(int64_t n, int64_t d) { return (n + d - 1) / d; }

struct Sizes {
  int64_t batch = 0, n = 0, m = 0, projections = 1;
  int64_t width = 1;
  int64_t element = 4;         // bytes of a coordinate
  int64_t scratch = kScratch;  // what work may take
};

// A side's points of a line are sorted in `room` places of shared memory, a power of two; longer
// ones by tiles, which further launches merge.
struct Sort {
  int64_t room = 0, tiles = 0;
  int threads = 0;
  int merges = 0;
};
constexpr Sort plan_sort(int64_t n) {
  Sort s;
  s.room = 2;
  while (s.room < n && s.room < kTile) s.room *= 2;
  s.tiles = divided_up(n, kTile);
  s.threads = static_cast<int>(std::min<int64_t>(512, std::max<int64_t>(32, s.room / 2)));
  for (int64_t width = kTile; width < n; width *= 2) ++s.merges;
  return s;
}

constexpr int threads_of_line(int64_t n, int64_t m) {
  const int64_t most = std::max(n, m);
  return most <= 64 ? 32 : most <= 512 ? 128 : kLineThreads;
}
// Lanes that go along the other side for a point of one of `own`: many where its mass may meet
// many.
constexpr int lanes_of_point(int64_t own, int64_t other) { return other >= 16 * own ? 32 : 1; }

// What is in work at once: all problems and some of their lines; where those do not fit, some
// problems and a line of each. Nothing that is added up depends on it.
struct Share {
  int64_t problems = 1, lines = 1;
  int64_t bytes = 0;  // of scratch, about
};
constexpr Share plan_share(const Sizes& s) {
  const int64_t points = s.n + s.m;
  // Two weights a point; of a problem its centre, mass and value.
  const int64_t problem = 16 * points + 8 * s.width + 16;
  const int64_t line = points * (40 + 3 * s.element + 2 * (s.element == 8 ? 16 : 8)) + 8;
  const int64_t batch = std::max<int64_t>(1, s.batch);
  const int64_t lines = (s.scratch / batch - problem) / line;
  Share share;
  share.lines = std::clamp<int64_t>(lines, 1, std::min(kMostLines, s.projections));
  const int64_t each = problem + share.lines * line;
  share.problems = std::clamp<int64_t>(s.scratch / each, 1, batch);
  share.bytes = share.problems * each;
  return share;
}

}  // namespace surprisal::emd1d
