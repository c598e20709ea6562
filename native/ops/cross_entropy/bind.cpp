#include "node/bind.h"
#include "ops/cross_entropy/op.h"
#include "ops/cross_entropy/plan.h"

namespace surprisal::cross_entropy {
namespace {

// For tests: what plan_rows() decides, as numbers.
struct PlanQuery {
  int64_t rows = 0, classes = 0;
  int32_t dtype = 0, arch = 90;
  bool plain = true;
  View out;  // float64 (8)
};

void query(const PlanQuery& op) {
  PlanShape s;
  s.rows = op.rows;
  s.columns = op.classes;
  s.dtype = static_cast<DType>(op.dtype);
  s.plain = op.plain;
  if (op.arch < 90) {  // an A100
    s.processors = 108;
    s.clusters = false;
    s.shared = 166912;
    s.shared_per_sm = 167936;
  }
  const Plan p = plan_rows(s);
  double* out = op.out.as<double>();
  out[0] = static_cast<double>(p.storage);
  out[1] = p.threads;
  out[2] = p.lanes;
  out[3] = p.slots_each;
  out[4] = p.cluster;
  out[5] = p.parts;
  out[6] = static_cast<double>(p.shared);
  out[7] = p.rows_each;
}

}  // namespace

#define PROBLEM_FIELDS(Op)                                                                \
  SP_FIELD(Op, logits), SP_FIELD(Op, target), SP_FIELD(Op, class_weight),                 \
      SP_FIELD(Op, token_weight), SP_FIELD(Op, rows), SP_FIELD(Op, classes),              \
      SP_FIELD(Op, ignore_index), SP_FIELD(Op, reduction), SP_FIELD(Op, label_smoothing), \
      SP_FIELD(Op, z_loss), SP_FIELD(Op, temperature), SP_FIELD(Op, softcap),             \
      SP_FIELD(Op, cap_first), SP_FIELD(Op, epilogue), SP_FIELD(Op, epilogue_k)

void bind(node::Module& m) {
  m.def<Forward, forward, SP_CUDA(forward_cuda)>(
      "crossEntropyForward", {PROBLEM_FIELDS(Forward), SP_FIELD(Forward, loss),
                              SP_FIELD(Forward, row_stats), SP_FIELD(Forward, grad_logits)});
  m.def<Backward, backward, SP_CUDA(backward_cuda)>(
      "crossEntropyBackward",
      {PROBLEM_FIELDS(Backward), SP_FIELD(Backward, row_stats), SP_FIELD(Backward, upstream),
       SP_FIELD(Backward, grad_logits), SP_FIELD(Backward, grad_logits_ready),
       SP_FIELD(Backward, grad_target), SP_FIELD(Backward, grad_token_weight)});
  m.def<Scale, scale, SP_CUDA(scale_cuda)>(
      "crossEntropyScale",
      {SP_FIELD(Scale, grad), SP_FIELD(Scale, upstream), SP_FIELD(Scale, out)});
  m.def<PlanQuery, query>(
      "crossEntropyPlan",
      {SP_FIELD(PlanQuery, rows), SP_FIELD(PlanQuery, classes), SP_FIELD(PlanQuery, dtype),
       SP_FIELD(PlanQuery, arch), SP_FIELD(PlanQuery, plain), SP_FIELD(PlanQuery, out)});
}

}  // namespace surprisal::cross_entropy
