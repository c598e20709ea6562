// Cross-entropy of rows of logits (N, V) with class indices or probabilities; the loss and its
// derivative are defined in core/row_loss.h. With probability targets t the row's weights are
//   q_c = w_c ((1-s) t_c + s/V),  row = sum_c q_c (lse - z_c) + z_loss lse^2.
// Mean divides by the sum of class weight x token weight over rows that are not ignored.
// Saved for backward: row_stats, four doubles a row, and the inputs. Sums run in float32 within a
// block of 8 KiB of logits (float64 for float64) and in float64 across blocks and rows.
// A target outside [0, V), a negative class weight or a NaN token weight throws before any write.
#pragma once
#include "core/row_loss.h"
#include "core/view.h"

namespace surprisal::cross_entropy {

struct Problem {
  View logits;        // (N, V) any float dtype
  View target;        // (N) int32 or int64, or (N, V) any float dtype
  View class_weight;  // (V) any float dtype, may be absent
  View token_weight;  // (N) any float dtype, may be absent
  int64_t rows = 0, classes = 0, ignore_index = -100;
  int32_t reduction = 1;  // Reduction
  double label_smoothing = 0, z_loss = 0, temperature = 1;
  double softcap = 0;  // 0: none
  bool cap_first = false;
  int32_t epilogue = 0;  // Epilogue
  double epilogue_k = 0;
};

struct Forward : Problem {
  View loss;         // (1), or (N) without a reduction: float64 for float64 logits, else float32
  View row_stats;    // (N, 4) float64, may be absent
  View grad_logits;  // (N, V) for an upstream gradient of 1, may be absent
};

struct Backward : Problem {
  View row_stats;
  View upstream;                   // like loss
  bool grad_logits_ready = false;  // grad_logits holds the gradient for an upstream of 1
  View grad_logits, grad_target, grad_token_weight;  // like their inputs; absent if not needed
};

// out = upstream x grad, for a gradient that forward made. `out` may be `grad` itself; then an
// upstream of 1 touches nothing.
struct Scale {
  View grad, upstream, out;
};

void forward(const Forward& op);
void backward(const Backward& op);
void scale(const Scale& op);

// On a device's stream. Bad values are found there and thrown at the next read that waits. A row's
// bits are the same in every run and with any other rows, but depend on where it lies against 16
// bytes: sums go by 16-byte slots.
void forward_cuda(const Forward& op, cuda::Stream& stream);
void backward_cuda(const Backward& op, cuda::Stream& stream);
void scale_cuda(const Scale& op, cuda::Stream& stream);

}  // namespace surprisal::cross_entropy
