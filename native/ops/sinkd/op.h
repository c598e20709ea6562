// Sinkhorn distillation (Cui et al. 2024): how far the student's rows of logits are from the
// teacher's as two sets of distributions. With temperature T, for each problem of B rows
//   p = softmax(student/T), q = softmax(teacher/T), W_ij = sum over classes of |p_i - q_j|
//   P = e^(-W/lambda), `iterations` times rows over their sums, then columns over theirs
//   loss = weight sum P_ij W_ij     (the columns of P sum to 1: its mass is B)
// Unrolled, the gradient goes through all iterations and W; detached, P is held constant. The
// teacher is constant. Saved: the gradient by W (B, B) and four doubles a row; p and q are made by
// tiles from the logits where they are needed, so nothing of size B x V is held but the gradient
// (for 16-bit logits besides 64 rows of it in float32; on a device as many rows as 256 MiB hold),
// nothing of size B x B x V at all.
#pragma once
#include "core/row_loss.h"
#include "core/view.h"

namespace surprisal::sinkd {

struct Problem {
  View student, teacher;  // (problems, B, V) of one float dtype
  View mask;              // (problems, B) bool or uint8, may be absent: rows of 0 are left out
  int64_t problems = 1, rows = 0, classes = 0, iterations = 20;
  double temperature = 2, lambda = 0.1, weight = 1;
  int32_t reduction = 1;  // Reduction, over the problems
  int64_t workspace = 0;  // bytes of scratch on a device; 0: kScratch of plan.h
};

// What is kept of a row.
struct RowStats {
  double student_max, student_log;  // log of the sum of e^((z - max)/T)
  double teacher_max, teacher_log;
};

struct Forward : Problem {
  View loss;       // (1), or (problems) without a reduction: float64 for float64, else float32
  View row_stats;  // (problems, B, 4) float64
  View slopes;     // (problems, B, B) float64: of a problem's sum P_ij W_ij by W; may be absent
  bool detached = false;
};

struct Backward : Problem {
  View row_stats, slopes;
  View upstream;      // like loss
  View grad_student;  // like student
};

void forward(const Forward& op);
void backward(const Backward& op);
void forward_cuda(const Forward& op, cuda::Stream& stream);
void backward_cuda(const Backward& op, cuda::Stream& stream);

}  // namespace surprisal::sinkd
