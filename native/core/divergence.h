// The numbers that name divergences between two softmax rows, and what a row's forward leaves for
// its backward. The terms themselves are in core/divergence_terms.h.
#pragma once
#include <cstdint>

namespace surprisal::divergence {

enum class Kind : int32_t { kl, reverse_kl, jensen_shannon };

// What forward leaves for backward. `first` and `second` are KL(p|m) and KL(q|m), or both the loss.
struct PairSums {
  double student_max, student_log;  // log of the sum of e^((z - max)/T)
  double teacher_max, teacher_log;
  double loss;
  double first, second;
  double unused;
};

}  // namespace surprisal::divergence
