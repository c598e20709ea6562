// How far two rows of logits (N, V) are apart as distributions: with temperature T,
// p = softmax(teacher/T), q = softmax(student/T), d = log p - log q and m = beta p + (1-beta) q,
//   kl              KL(p|q) = sum p phi(d)                                  (Hinton et al. 2015)
//   reverse_kl      KL(q|p) = sum q phi(-d)                                   (Gu et al. 2024)
//   jensen_shannon  beta KL(p|m) + (1-beta) KL(q|m)           (Agarwal et al. 2024, eq. 1)
// phi(x) = e^-x - 1 + x >= 0: the terms p log(p/q) alternate in sign and cancel where the rows are
// close; these do not: a small divergence keeps its digits. Gradients: core/divergence_terms.h.
// Saved: eight doubles a row. Sums in float32 over 512 classes, then float64.
#pragma once
#include "core/divergence.h"
#include "core/row_loss.h"
#include "core/view.h"

namespace surprisal::divergence {

struct Problem {
  View student, teacher;  // (N, V) of one float dtype
  View token_weight;      // (N) any float dtype, may be absent
  int64_t rows = 0, classes = 0;
  int32_t kind = 0;       // Kind
  int32_t reduction = 1;  // Reduction; mean divides by the sum of token weights
  double temperature = 1, beta = 0.5;
};

struct Forward : Problem {
  View loss;       // (1), or (N) without a reduction: float64 for float64 logits, else float32
  View row_stats;  // (N, 8) float64: PairSums, may be absent
  // Like student, may be absent; on devices alone, for a mean or a sum: its gradient for an
  // upstream gradient of 1.
  View grad_student;
};

struct Backward : Problem {
  View row_stats;
  View upstream;                                       // like loss
  View grad_student, grad_teacher, grad_token_weight;  // like their inputs; absent if not needed
  bool grad_student_ready =
      false;  // forward's is in it: nothing to do for an upstream gradient of 1
};

void forward(const Forward& op);
void backward(const Backward& op);
void forward_cuda(const Forward& op, cuda::Stream& stream);
void backward_cuda(const Backward& op, cuda::Stream& stream);

}  // namespace surprisal::divergence
