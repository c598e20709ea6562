// Earth mover distance optimisation (Ren et al. 2024): with q = softmax(z), c_v = cos(E_v, E_y)
//   emo = 1 - sum over v of (q_v - [v = y] sg(q_y)) c_v   (plain: without sg);  mle = -log q_y
//   emo1: (sg(mle/(emo+1e-10)) emo + mle)/2;  emo2: sg(emo/(mle+1e-10)) mle + emo
//   demo/dz_k = -q_k (c_k - sum over all v of q_v c_v), for either form; E is constant
// emo is at least `floor`, the ratios at most `ceiling`. Rows of ignored targets are not read.
// On logits: cosines from a table (V, V), or made from E for 64 rows at a time. Without logits:
// z = x·weightᵀ and E·E_y run side by side through the streaming loop of cpu/logit_stream.h, as
// rows of x and rows of E; neither (N, V) array exists. E is weight itself (adaptive) or a frozen
// matrix of its shape.
#pragma once
#include "core/row_loss.h"
#include "core/view.h"

namespace surprisal::emo {

struct Rules {
  View target;        // (N) int32 or int64
  View token_weight;  // (N) any float dtype, may be absent
  int64_t rows = 0, classes = 0, ignore_index = -100;
  int32_t combination = 0;  // Combination
  int32_t reduction = 1;    // Reduction
  bool plain = false;
  double floor = 0, ceiling = 0;
  View row_loss;  // (N) float64
};

struct OnLogits : Rules {
  View logits;     // (N, V)
  View embedding;  // (V, width), or
  View cosines;    // (V, V), of any float dtype
  int64_t width = 0;
  View grad_logits;  // like logits, may be absent: for an upstream of 1 in forward
};
struct Forward : OnLogits {
  View loss;  // (1), or (N) without a reduction: float64 for float64, else float32
};
struct Backward : OnLogits {
  View upstream, grad_token_weight;
};

// Without logits: z = x·weightᵀ.
struct Linear : Rules {
  View x;          // (N, width)
  View weight;     // (V, width), of x's dtype
  View embedding;  // like weight; absent: weight itself, as a constant
  int64_t width = 0, workspace_bytes = int64_t{32} << 20;
  View grad_x, grad_weight;  // absent if not needed; for an upstream of 1 in forward
};
struct LinearForward : Linear {
  View loss;
  // What a backward will ask for, so that a workspace too small for it is refused here.
  bool later_x = false, later_weight = false;
};
struct LinearBackward : Linear {
  View upstream, grad_token_weight;
};

void forward(const Forward& op);
void backward(const Backward& op);
void linear_forward(const LinearForward& op);
void linear_backward(const LinearBackward& op);
void forward_cuda(const Forward& op, cuda::Stream& stream);
void backward_cuda(const Backward& op, cuda::Stream& stream);
void linear_forward_cuda(const LinearForward& op, cuda::Stream& stream);
void linear_backward_cuda(const LinearBackward& op, cuda::Stream& stream);

}  // namespace surprisal::emo
