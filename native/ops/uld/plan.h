// How uldLoss is launched on a device: pure functions of sizes, tested without a GPU. Threads and
// bins follow from the lengths of the rows alone, as the bits of a row do.
#pragma once
#include <algorithm>
#include <cstdint>

namespace surprisal::uld {

constexpr int kMostThreads = 512;
constexpr int kMostBins = 4096;  // of either row: 32 KiB together

struct PlanShape {
  int64_t rows = 0, student = 0, teacher = 0;  // classes
  int64_t key = 4;                             // bytes of an element
  int processors = 132;
};

struct Plan {
  int threads = 128;
  int bins = 256;
  int64_t bytes = 0;   // of scratch memory a block
  int64_t blocks = 0;  // of which each takes rows in turn
};

struct RowSize {
  int64_t classes;
  int threads, bins;
};
constexpr RowSize kRowSizes[] = {{1024, 128, 512}, {8192, 256, 2048}, {INT64_MAX, 512, kMostBins}};
constexpr int64_t kScratchBytes = int64_t{512} << 20;
constexpr int kBlocksEach = 2;  // of a multiprocessor

constexpr int64_t aligned(int64_t bytes) { return (bytes + 15) / 16 * 16; }

constexpr Plan plan(const PlanShape& s) {
  Plan p;
  const int64_t longest = s.student > s.teacher ? s.student : s.teacher;
  for (const RowSize& size : kRowSizes) {
    p.threads = size.threads;
    p.bins = size.bins;
    if (longest <= size.classes) break;
  }
  // Keys of both rows and places of the student's, twice; signs.
  p.bytes = 2 * aligned(s.student * s.key) + 2 * aligned(s.teacher * s.key) +
            2 * aligned(s.student * 4) + aligned(s.student);
  const int64_t fit = std::max<int64_t>(1, kScratchBytes / p.bytes);
  p.blocks = std::min({s.rows, int64_t{s.processors} * kBlocksEach, fit});
  return p;
}

}  // namespace surprisal::uld
