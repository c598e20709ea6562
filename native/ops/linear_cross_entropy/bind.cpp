#include <algorithm>

#include "node/bind.h"
#include "ops/linear_cross_entropy/op.h"
#include "ops/linear_cross_entropy/plan.h"

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
#define LOSS(Op)                                                                           \
  SCORED(Op), GRADIENTS(Op), SP_FIELD(Op, class_weight), SP_FIELD(Op, token_weight),       \
      SP_FIELD(Op, reduction), SP_FIELD(Op, label_smoothing), SP_FIELD(Op, z_loss),        \
      SP_FIELD(Op, epilogue), SP_FIELD(Op, epilogue_k), SP_FIELD(Op, filter_eps),          \
      SP_FIELD(Op, filter_error), SP_FIELD(Op, filter_report), SP_FIELD(Op, filter_tiles), \
      SP_FIELD(Op, stored)

struct PlanQuery {
  int32_t dtype = 0;
  int64_t rows = 0, width = 0, classes = 0, budget = 0;
  bool sums = false, dx = false, dweight = false, dbias = false, adds = false;
  bool class_weight = false, filtered = false;
  bool wgmma = false;                  // of the device, as its processors
  int64_t processors = 1, weight = 0;  // weight: its address
  View out;                            // float64 (13)
};

void query(const PlanQuery& op) {
  Problem p;
  p.dtype = DType(op.dtype);
  p.rows = op.rows;
  p.width = op.width;
  p.classes = op.classes;
  p.budget = op.budget;
  p.sums = op.sums;
  p.dx = op.dx;
  p.dweight = op.dweight;
  p.dbias = op.dbias;
  p.adds = op.adds;
  p.class_weight = op.class_weight;
  p.filtered = op.filtered;
  const Plan plan = plan_pass(p);
  const Tiles tiles{static_cast<int>(op.processors)};
  const int64_t span = p.span(), rows = std::min(plan.wave, p.rows);
  const int64_t columns = std::min(plan.chunk, p.classes);
  const bool wide = p.wide(op.wgmma, static_cast<uint64_t>(op.weight));
  // Which of wgmma's kernels take their large tiles.
  const bool large[] = {tiles.wide_large(rows, std::min(span, p.classes), p.spans()),
                        tiles.wide_large(rows, columns), tiles.wide_large(rows, p.width),
                        tiles.wide_large(columns, p.width)};
  Problem forward = p;
  forward.sums = true;
  forward.dx = forward.dweight = forward.dbias = forward.filtered = false;
  double* out = op.out.as<double>();
  const int64_t values[] = {plan.minimum,
                            plan.wave,
                            plan.chunk,
                            plan.weight_sweep,
                            plan.at.bytes,
                            span,
                            p.spans(),
                            wide,
                            wide && large[0],
                            wide && large[1],
                            wide && large[2],
                            wide && large[3],
                            plan_stored(forward, p).rows};
  for (int64_t value : values) *out++ = static_cast<double>(value);
}

}  // namespace

void bind(node::Module& m) {
  m.def<Forward, forward, SP_CUDA(forward_cuda)>(
      "linearCrossEntropyForward", {LOSS(Forward), SP_FIELD(Forward, loss),
                                    SP_FIELD(Forward, later_x), SP_FIELD(Forward, later_weight),
                                    SP_FIELD(Forward, later_bias), SP_FIELD(Forward, later_adds)});
  m.def<Backward, backward, SP_CUDA(backward_cuda)>(
      "linearCrossEntropyBackward",
      {SP_FIELD(Backward, unit_x), SP_FIELD(Backward, unit_weight), SP_FIELD(Backward, unit_bias),
       LOSS(Backward), SP_FIELD(Backward, upstream), SP_FIELD(Backward, dtoken_weight)});
  m.def<StoredQuery, stored_bytes, SP_CUDA(stored_bytes_cuda)>(
      "linearCrossEntropyStored",
      {LINEAR(StoredQuery), SP_FIELD(StoredQuery, label_smoothing), SP_FIELD(StoredQuery, filtered),
       SP_FIELD(StoredQuery, later_x), SP_FIELD(StoredQuery, later_weight),
       SP_FIELD(StoredQuery, later_bias), SP_FIELD(StoredQuery, later_adds),
       SP_HOST_FIELD(StoredQuery, bytes)});
  m.def<Logprobs, logprobs, SP_CUDA(logprobs_cuda)>(
      "linearLogprobs", {SCORED(Logprobs), SP_FIELD(Logprobs, logprob), SP_FIELD(Logprobs, lse),
                         SP_FIELD(Logprobs, entropy), SP_FIELD(Logprobs, later_x),
                         SP_FIELD(Logprobs, later_weight), SP_FIELD(Logprobs, later_bias)});
  m.def<LogprobsBackward, logprobs_backward, SP_CUDA(logprobs_backward_cuda)>(
      "linearLogprobsBackward",
      {SCORED(LogprobsBackward), GRADIENTS(LogprobsBackward), SP_FIELD(LogprobsBackward, dlogprob),
       SP_FIELD(LogprobsBackward, dlse), SP_FIELD(LogprobsBackward, dentropy)});
  m.def<Partials, partials, SP_CUDA(partials_cuda)>(
      "linearCrossEntropyPartials",
      {SCORED(Partials), SP_FIELD(Partials, vocab_offset), SP_FIELD(Partials, max),
       SP_FIELD(Partials, sum_exp), SP_FIELD(Partials, target_logit),
       SP_FIELD(Partials, sum_logits)});
  m.def<ShardBackward, shard_backward, SP_CUDA(shard_backward_cuda)>(
      "linearCrossEntropyShardBackward",
      {SCORED(ShardBackward), GRADIENTS(ShardBackward), SP_FIELD(ShardBackward, vocab_offset),
       SP_FIELD(ShardBackward, lse), SP_FIELD(ShardBackward, grad_loss)});
  m.def<PlanQuery, query>(
      "linearCrossEntropyPlan",
      {SP_FIELD(PlanQuery, dtype), SP_FIELD(PlanQuery, rows), SP_FIELD(PlanQuery, width),
       SP_FIELD(PlanQuery, classes), SP_FIELD(PlanQuery, budget), SP_FIELD(PlanQuery, sums),
       SP_FIELD(PlanQuery, dx), SP_FIELD(PlanQuery, dweight), SP_FIELD(PlanQuery, dbias),
       SP_FIELD(PlanQuery, adds), SP_FIELD(PlanQuery, class_weight), SP_FIELD(PlanQuery, filtered),
       SP_FIELD(PlanQuery, wgmma), SP_FIELD(PlanQuery, processors), SP_FIELD(PlanQuery, weight),
       SP_FIELD(PlanQuery, out)});
  m.def<Argmax, argmax, SP_CUDA(argmax_cuda)>("linearArgmax",
                                              {LINEAR(Argmax), SP_FIELD(Argmax, out)});
}

}  // namespace surprisal::linear_cross_entropy
