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
constexpr int64_t kPartials = int64_t{1} << 20;  // sums of strips a problem, about
constexpr int64_t kSpare = int64_t{256} << 20;   // bytes of dp where it has no room in the gradient

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Plan {
  int64_t strips = 1;      // W is summed by strips of classes, so that few rows fill the device
  int64_t strip = 0;       // classes, a multiple of kDepth
  int64_t problems = 1;    // whose 16-bit gradients are made together
  bool in_shared = false;  // K fits the shared memory of a block
};

constexpr Plan plan(int64_t problems, int64_t rows, int64_t classes, int64_t shared) {
  Plan p;
  const int64_t pairs = std::max<int64_t>(1, rows * rows);
  p.strips =
      std::clamp<int64_t>(kPartials / pairs, 1, std::min(kMostStrips, ceil_div(classes, kStrip)));
  p.strip = ceil_div(ceil_div(classes, p.strips), kDepth) * kDepth;
  p.strips = ceil_div(classes, p.strip);
  p.problems = std::clamp<int64_t>(kSpare / std::max<int64_t>(1, rows * classes * 4), 1,
                                   std::max<int64_t>(1, problems));
  p.in_shared = pairs * 8 + 16 * 1024 <= shared;
  return p;
}

}  // namespace surprisal::sinkd
