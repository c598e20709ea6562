// How sinkd is launched on a device: pure functions of sizes, tested without a GPU.
#pragma once
#include <algorithm>
#include <cstdint>

namespace surprisal::sinkd {

constexpr int kThreads = 256;
constexpr int kTile = 64;     // rows of student and of teacher, or classes, of a block
constexpr int kDepth = 32;    // what of the third size is in shared memory at a time
constexpr int kStrip = 1024;  // classes of a strip, at least
constexpr int64_t kMostStrips = 128;
constexpr int64_t kPartials = int64_t{1} << 20;   // sums of strips a problem, about
constexpr int64_t kScratch = int64_t{256} << 20;  // bytes of what is in work
constexpr int kTransportThreads = 512;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Of a problem's iterations: u and v of every one, the derivatives by both, parts of sums of
// columns.
constexpr int64_t vectors_of(int64_t rows, int64_t iterations) {
  return 2 * (iterations + 2) * rows + kTransportThreads + rows + 32;
}

struct Sizes {
  int64_t problems = 1, rows = 0, classes = 0, iterations = 20;
  int64_t element = 4;         // bytes of a logit
  int64_t shared = 0;          // bytes of a block
  int64_t scratch = kScratch;  // what problems in work may take
};

struct Plan {
  int64_t strips = 1;      // W is summed by strips of classes, so that few rows fill the device
  int64_t strip = 0;       // classes, a multiple of kDepth
  bool in_shared = false;  // K fits the shared memory of a block
  int64_t problems = 1;    // whose losses are made together
  int64_t differentiated = 1, taken = 1;  // problems, and rows of each, whose gradients are
};

constexpr int64_t fitting(const Sizes& s, int64_t each, int64_t most) {
  return std::clamp<int64_t>(s.scratch / std::max<int64_t>(1, each), 1, std::max<int64_t>(1, most));
}
// Of W, K and the vectors of a problem; of dp, which 32-bit and wider gradients hold themselves,
// and <p, dp> of a row.
constexpr int64_t problem_bytes(const Sizes& s, const Plan& p) {
  const int64_t sums = s.element == 8 ? 8 : 4, squares = p.strips * sums + (p.in_shared ? 8 : 16);
  return s.rows * s.rows * squares + 8 * vectors_of(s.rows, s.iterations);
}
constexpr int64_t row_bytes(const Sizes& s) {
  return ceil_div(s.classes, kTile) * 8 + (s.element == 2 ? 4 * s.classes : 0);
}

constexpr Plan plan(const Sizes& s) {
  Plan p;
  const int64_t pairs = std::max<int64_t>(1, s.rows * s.rows);
  p.strips =
      std::clamp<int64_t>(kPartials / pairs, 1, std::min(kMostStrips, ceil_div(s.classes, kStrip)));
  p.strip = ceil_div(ceil_div(s.classes, p.strips), kDepth) * kDepth;
  p.strips = ceil_div(s.classes, p.strip);
  p.in_shared = pairs * 8 + 16 * 1024 <= s.shared;
  p.problems = fitting(s, problem_bytes(s, p), s.problems);
  p.differentiated = fitting(s, s.rows * row_bytes(s), s.problems);
  p.taken = fitting(s, row_bytes(s), s.rows);
  if (p.taken < s.rows && p.taken > kTile) p.taken -= p.taken % kTile;
  return p;
}

}  // namespace surprisal::sinkd
