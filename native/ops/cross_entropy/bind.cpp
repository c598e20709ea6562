#include "node/bind.h"
#include "ops/cross_entropy/op.h"

namespace surprisal::cross_entropy {

#define PROBLEM_FIELDS(Op)                                                                \
  SP_FIELD(Op, logits), SP_FIELD(Op, target), SP_FIELD(Op, class_weight),                 \
      SP_FIELD(Op, token_weight), SP_FIELD(Op, rows), SP_FIELD(Op, classes),              \
      SP_FIELD(Op, ignore_index), SP_FIELD(Op, reduction), SP_FIELD(Op, label_smoothing), \
      SP_FIELD(Op, z_loss), SP_FIELD(Op, temperature), SP_FIELD(Op, softcap),             \
      SP_FIELD(Op, cap_first), SP_FIELD(Op, epilogue), SP_FIELD(Op, epilogue_k)

void bind(node::Module& m) {
  m.def<Forward, forward>("crossEntropyForward",
                          {PROBLEM_FIELDS(Forward), SP_FIELD(Forward, loss),
                           SP_FIELD(Forward, row_stats), SP_FIELD(Forward, grad_logits)});
  m.def<Backward, backward>(
      "crossEntropyBackward",
      {PROBLEM_FIELDS(Backward), SP_FIELD(Backward, row_stats), SP_FIELD(Backward, upstream),
       SP_FIELD(Backward, grad_logits), SP_FIELD(Backward, grad_logits_ready),
       SP_FIELD(Backward, grad_target), SP_FIELD(Backward, grad_token_weight)});
  m.def<Scale, scale>("crossEntropyScale",
                      {SP_FIELD(Scale, grad), SP_FIELD(Scale, upstream), SP_FIELD(Scale, out)});
}

}  // namespace surprisal::cross_entropy
