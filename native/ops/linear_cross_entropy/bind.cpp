#include "node/bind.h"
#include "ops/linear_cross_entropy/op.h"

namespace surprisal::linear_cross_entropy {
namespace {

#define LINEAR(Op)                                                                           \
  SP_FIELD(Op, x), SP_FIELD(Op, weight), SP_FIELD(Op, bias), SP_FIELD(Op, batch),            \
      SP_FIELD(Op, length), SP_FIELD(Op, width), SP_FIELD(Op, classes), SP_FIELD(Op, shift), \
      SP_FIELD(Op, temperature), SP_FIELD(Op, softcap), SP_FIELD(Op, cap_first),             \
      SP_FIELD(Op, workspace_bytes)
#define SCORED(Op) \
  LINEAR(Op), SP_FIELD(Op, target), SP_FIELD(Op, ignore_index), SP_FIELD(Op, row_sums)
#define GRADIENTS(Op) \
  SP_FIELD(Op, dx), SP_FIELD(Op, dweight), SP_FIELD(Op, dbias), SP_FIELD(Op, add_to_dweight)
#define LOSS(Op)                                                                     \
  SCORED(Op), GRADIENTS(Op), SP_FIELD(Op, class_weight), SP_FIELD(Op, token_weight), \
      SP_FIELD(Op, reduction), SP_FIELD(Op, label_smoothing), SP_FIELD(Op, z_loss),  \
      SP_FIELD(Op, epilogue), SP_FIELD(Op, epilogue_k), SP_FIELD(Op, filter_eps),    \
      SP_FIELD(Op, filter_error), SP_FIELD(Op, filter_report)

}  // namespace

void bind(node::Module& m) {
  m.def<Forward, forward>("linearCrossEntropyForward",
                          {LOSS(Forward), SP_FIELD(Forward, loss), SP_FIELD(Forward, later_x),
                           SP_FIELD(Forward, later_weight), SP_FIELD(Forward, later_bias),
                           SP_FIELD(Forward, later_adds)});
  m.def<Backward, backward>(
      "linearCrossEntropyBackward",
      {SP_FIELD(Backward, unit_x), SP_FIELD(Backward, unit_weight), SP_FIELD(Backward, unit_bias),
       LOSS(Backward), SP_FIELD(Backward, upstream), SP_FIELD(Backward, dtoken_weight)});
  m.def<Logprobs, logprobs>("linearLogprobs",
                            {SCORED(Logprobs), SP_FIELD(Logprobs, logprob), SP_FIELD(Logprobs, lse),
                             SP_FIELD(Logprobs, entropy), SP_FIELD(Logprobs, later_x),
                             SP_FIELD(Logprobs, later_weight), SP_FIELD(Logprobs, later_bias)});
  m.def<LogprobsBackward, logprobs_backward>(
      "linearLogprobsBackward",
      {SCORED(LogprobsBackward), GRADIENTS(LogprobsBackward), SP_FIELD(LogprobsBackward, dlogprob),
       SP_FIELD(LogprobsBackward, dlse), SP_FIELD(LogprobsBackward, dentropy)});
  m.def<Partials, partials>("linearCrossEntropyPartials",
                            {SCORED(Partials), SP_FIELD(Partials, vocab_offset),
                             SP_FIELD(Partials, max), SP_FIELD(Partials, sum_exp),
                             SP_FIELD(Partials, target_logit), SP_FIELD(Partials, sum_logits)});
  m.def<ShardBackward, shard_backward>(
      "linearCrossEntropyShardBackward",
      {SCORED(ShardBackward), GRADIENTS(ShardBackward), SP_FIELD(ShardBackward, vocab_offset),
       SP_FIELD(ShardBackward, lse), SP_FIELD(ShardBackward, grad_loss)});
  m.def<Argmax, argmax>("linearArgmax", {LINEAR(Argmax), SP_FIELD(Argmax, out)});
}

}  // namespace surprisal::linear_cross_entropy
