// How divergence is launched: pure functions of sizes, tested without a GPU.
#pragma once
#include <cstdint>

namespace surprisal::divergence {

constexpr int kThreads = 256;
// Up to this many classes a warp has a row, beyond it a block: 32 lanes then go round it 8 times
// or more with 16-bit logits, while a block would leave most of its threads without any.
constexpr int64_t kWarpClasses = 2048;

struct Plan {
  bool warp_rows = false;
  int64_t blocks = 0;
};

constexpr Plan plan(int64_t rows, int64_t classes) {
  const bool warp_rows = classes <= kWarpClasses;
  const int64_t each = warp_rows ? kThreads / 32 : 1;
  return {warp_rows, (rows + each - 1) / each};
}

}  // namespace surprisal::divergence
