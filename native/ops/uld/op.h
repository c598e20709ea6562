// Universal logit distillation (Boizard et al. 2024): rows of probabilities over different
// vocabularies, compared rank by rank. With p = softmax(student/T), q = softmax(teacher/T), both in
// descending order and the shorter continued by zeros,
//   row = sum over k of |p_(k) - q_(k)|;  dp_(k) = sign(p_(k) - q_(k)), dz = p (dp - <p, dp>)/T
// Without a sort: elements are counted in bins by the bits of their value. Where all ranks of a bin
// meet larger (or smaller) elements of the other row, the sign is the bin's; only bins whose ranks
// meet the same bin of the other row are sorted within. Exact; equal elements of a row take their
// ranks by index. Mean: divides by the sum of token weights; rows of weight 0 are not read.
// Saved: the loss of each row.
#pragma once
#include "core/row_loss.h"
#include "core/view.h"

namespace surprisal::uld {

struct Problem {
  View student;       // (N, V)
  View teacher;       // (N, U), of the same float dtype
  View token_weight;  // (N) any float dtype, may be absent
  int64_t rows = 0, student_classes = 0, teacher_classes = 0;
  double temperature = 1;
  int32_t reduction = 1;  // Reduction
};

struct Forward : Problem {
  View loss;          // (1), or (N) without a reduction: float64 for float64, else float32
  View row_loss;      // (N) float64
  View grad_student;  // for an upstream of 1, may be absent
};
struct Backward : Problem {
  View row_loss, upstream;
  View grad_student, grad_token_weight;  // absent if not needed
};

void forward(const Forward& op);
void backward(const Backward& op);
void forward_cuda(const Forward& op, cuda::Stream& stream);
void backward_cuda(const Backward& op, cuda::Stream& stream);

}  // namespace surprisal::uld
