// What is known of a row: its sums, once all classes were seen, and what its gradient is made from.
#pragma once
#include <cstdint>

namespace surprisal::linear_cross_entropy {

// A row's sums over its mapped logits z; `extra` is what the op asked for (Extra).
struct RowState {
  double max;     // largest z
  double others;  // sum of e^(z - max) without the target
  double target;  // z_y - max, -inf if the row has no target here
  double extra;
};
constexpr int64_t kRowState = 4;  // doubles

enum class Extra {
  none,
  below,    // sum of w_c (max - z_c)
  entropy,  // sum of e^(z - max) (z - max)
  total,    // sum of z
  largest,  // no sums, the first class of the largest z
};

// dz_c = e^(z_c - max) (p + q (z_c - max)) - w w_c, and dz_y = own; where own_from_z is set,
// dz_y = p (e^(z_y - max) - 1).
struct RowCoefficients {
  double max = 0, p = 0, q = 0, w = 0, own = 0;
};

}  // namespace surprisal::linear_cross_entropy
