// How rows of x against rows of a second matrix W are cut into waves of rows and ranges of columns
// so that their products z (n, V) and what the passes over them need fit `budget` bytes. Pure
// arithmetic: no result depends on it, only speed and memory.
#pragma once
#include <algorithm>
#include <cstdint>

namespace surprisal {

struct LogitShape {
  int64_t rows = 0, columns = 0, depth = 0;  // n, V, D
  int64_t lanes = 16;                        // rows of a panel
  int64_t unit = 4;                          // bytes of the accumulator
  int64_t row_bytes = 0;                     // of per-row bookkeeping in a wave
  int64_t fixed_bytes = 0;                   // taken from the budget whatever the waves
  // Bytes a row of dW could lend to z before dW is due; 0 if nothing may be written there.
  int64_t lent_bytes = 0;
  bool gradient = false, gradient_x = false, gradient_weight = false;
  bool weight_accumulates = false;  // dW's own memory holds partial sums exactly
  int64_t budget = 0;
  int threads = 1;
};

// Which blocks of the gradient may be skipped: those whose largest p off the target is below eps,
// or, with eps < 0, as many as keep the Frobenius errors of dx and dW within max_error.
struct LogitFilter {
  double eps = -1, max_error = -1;
  double unit = 1;           // upstream gradient at which errors are reported
  double* report = nullptr;  // (3) kept fraction of the blocks, bounds on the errors of dx and dW
  bool exact() const { return !(eps >= 0) && !(max_error >= 0); }
};

struct LogitPlan {
  int64_t minimum = 0;  // the least budget that works; above `budget` the rest is not filled in
  int threads = 1;
  int64_t wave = 0, first_wave = 0;  // rows, multiples of `lanes`
  int64_t lent = 0;                  // rows of a wave whose z lies in dW's memory
  int64_t range = 0;          // columns of z held at once; all of them: nothing is recomputed
  bool weight_sweep = false;  // dW in a pass of its own, by ranges of sweep_range columns
  int64_t sweep_range = 0;
};

constexpr int64_t kLogitBlock = 192;      // columns; sums are merged, and p·W added, by blocks
constexpr int64_t kLogitGroup = 16;       // panels that share one packed part of W
constexpr int64_t kLogitPart = 288;       // longest part of the depth
constexpr int64_t kGradientPart = 384;    // features of dx that share one packed part of W
constexpr int64_t kWeightRows = 48;       // rows of dW at a time, fewer for long waves
constexpr int64_t kWeightPart = 1 << 16;  // elements of z that dW reads at a time
constexpr int64_t kLongestWave = 2048;    // of gradients: kWeightPart still holds many rows of dW

inline int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
inline int64_t round_down(int64_t n, int64_t step) { return n / step * step; }

// Scratch of one thread in the most demanding pass over a wave of `rows`.
inline int64_t logit_thread_bytes(const LogitShape& s, int64_t rows) {
  const int64_t group =
      std::min(round_up(rows, s.lanes), kLogitGroup * s.lanes) * (kLogitBlock + 1);
  int64_t elements = std::max(kLogitBlock * kLogitPart + group, s.lanes * s.depth);
  if (s.gradient_x) elements = std::max(elements, kLogitBlock * (kGradientPart + 6) + group);
  if (s.gradient_weight) {
    const int64_t left = std::min(kWeightPart, kWeightRows * rows);
    elements = std::max(elements, left + kWeightRows * (16 + round_up(s.depth, s.lanes)));
  }
  return round_up(elements * s.unit, 4096) + 4096;
}

// Bytes of a row of a wave without its z. Where one range holds every column, x, dx and x again
// (by features, for dW) take turns in one place.
inline int64_t logit_row_bytes(const LogitShape& s, bool ranges) {
  const int64_t features = s.gradient_weight ? round_up(s.depth, s.lanes) : 0;
  const int64_t dx = s.gradient_x ? round_up(s.depth, 6) : 0;
  const int64_t elements = ranges ? s.depth + features + dx : std::max({s.depth, features, dx});
  return elements * s.unit + s.row_bytes;
}

inline LogitPlan plan_logits(const LogitShape& s) {
  constexpr int64_t kSlack = 2 << 20;  // scratch is handed out in huge pages
  int64_t row = logit_row_bytes(s, true);
  const int64_t all = std::max(s.lanes, round_up(s.rows, s.lanes));
  const int64_t columns = std::max<int64_t>(1, s.columns);
  const int64_t block = std::min(kLogitBlock, columns);
  LogitPlan plan;
  int64_t least = s.lanes * row;
  if (s.gradient) least += (s.lanes + 16) * block * s.unit;
  if (s.gradient_weight && !s.weight_accumulates) least += block * s.depth * s.unit;
  plan.minimum = s.fixed_bytes + least + logit_thread_bytes(s, s.lanes) + kSlack;
  if (plan.minimum > s.budget) return plan;

  const int64_t target = std::min(all, kLongestWave);
  int64_t room = s.budget - s.fixed_bytes - kSlack;
  int64_t thread = logit_thread_bytes(s, target);
  plan.threads = int(std::clamp<int64_t>(room / 2 / thread, 1, s.threads));
  if (plan.threads == 1) thread = std::min(thread, std::max(room / 2, logit_thread_bytes(s, 16)));
  room -= plan.threads * thread;
  plan.range = columns;
  if (!s.gradient) {
    plan.wave = plan.first_wave = std::min(all, std::max(s.lanes, round_down(room / row, s.lanes)));
    return plan;
  }
  row = logit_row_bytes(s, false);
  const int64_t full = columns * s.unit;
  room -= 16 * full;  // rows of z are padded against cache aliasing
  plan.lent = std::min(all, round_down(s.lent_bytes / s.unit, s.lanes));
  const auto rows_for = [&](int64_t lent) {
    const int64_t free_rows = std::min(lent, room / row);
    return round_down(free_rows + std::max<int64_t>(0, room - free_rows * row) / (row + full),
                      s.lanes);
  };
  plan.first_wave = std::min(target, rows_for(plan.lent));
  plan.wave = std::min(target, rows_for(0));
  const bool one_wave = plan.first_wave >= all;
  if (!one_wave && s.gradient_weight && !s.weight_accumulates) {
    plan.weight_sweep = true;
    plan.wave = plan.first_wave;  // dW is not written before the sweep
  }
  const int64_t useful = std::min<int64_t>(all, 64);
  if (plan.first_wave < useful || (!one_wave && plan.wave < useful)) {
    room += 16 * full;
    row = logit_row_bytes(s, true);
    plan.lent = 0;
    const int64_t most = std::max(s.lanes, round_down(room / 2 / row, s.lanes));
    plan.wave = plan.first_wave = std::min<int64_t>({all, most, 256});
    const int64_t left = room - plan.wave * row;
    const int64_t fit = round_down(left / ((plan.wave + 16) * s.unit), kLogitBlock);
    plan.range = std::clamp<int64_t>(fit, block, columns);
    plan.weight_sweep = s.gradient_weight && !s.weight_accumulates;
  }
  if (plan.weight_sweep) {
    const int64_t left = room - plan.wave * row;
    const int64_t column = (plan.wave + 16 + s.depth) * s.unit;
    plan.sweep_range = std::clamp<int64_t>(round_down(left / column, kLogitBlock), block, columns);
  }
  return plan;
}

}  // namespace surprisal
