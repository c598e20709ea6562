#include "node/bind.h"
#include "ops/optimiser/op.h"
#include "ops/optimiser/plan.h"

namespace surprisal::optimiser {
namespace {

// For tests: of a launch over arrays of these sizes, which array a block works on and from which
// element, and how many blocks there are.
struct PlanQuery {
  Dims sizes;
  int64_t block = 0;
  bool sums = false;
  View out;  // float64 (3)
};

void query(const PlanQuery& op) {
  const int64_t chunk = op.sums ? kSumChunk : kChunk;
  int64_t first[kMaxRank] = {}, blocks = 0;
  for (int k = 0; k < op.sizes.rank; ++k) {
    first[k] = blocks;
    blocks += chunks_of(op.sizes[k], chunk);
  }
  const int k = array_of(first, op.sizes.rank, op.block);
  double* out = op.out.as<double>();
  out[0] = k;
  out[1] = static_cast<double>((op.block - first[k]) * chunk);
  out[2] = static_cast<double>(blocks);
}

}  // namespace

void bind(node::Module& m) {
  m.def<Sgd, sgd_cpu, SP_CUDA(sgd_cuda)>(
      "optimiserSgd",
      {SP_FIELD(Sgd, param), SP_FIELD(Sgd, grad), SP_FIELD(Sgd, master), SP_FIELD(Sgd, buffer),
       SP_FIELD(Sgd, rates), SP_FIELD(Sgd, lr), SP_FIELD(Sgd, momentum), SP_FIELD(Sgd, dampening),
       SP_FIELD(Sgd, weight_decay), SP_FIELD(Sgd, nesterov), SP_FIELD(Sgd, first)});
  m.def<Adam, adam_cpu, SP_CUDA(adam_cuda)>(
      "optimiserAdam",
      {SP_FIELD(Adam, param), SP_FIELD(Adam, grad), SP_FIELD(Adam, master), SP_FIELD(Adam, m),
       SP_FIELD(Adam, v), SP_FIELD(Adam, rates), SP_FIELD(Adam, lr), SP_FIELD(Adam, beta1),
       SP_FIELD(Adam, beta2), SP_FIELD(Adam, eps), SP_FIELD(Adam, weight_decay),
       SP_FIELD(Adam, decoupled), SP_FIELD(Adam, step)});
  m.def<SetRates, set_rates_cpu, SP_CUDA(set_rates_cuda)>(
      "optimiserSetRates",
      {SP_FIELD(SetRates, out), SP_FIELD(SetRates, lr), SP_FIELD(SetRates, beta1),
       SP_FIELD(SetRates, beta2), SP_FIELD(SetRates, weight_decay), SP_FIELD(SetRates, step)});
  m.def<Refresh, refresh_cpu, SP_CUDA(refresh_cuda)>(
      "optimiserRefresh", {SP_FIELD(Refresh, param), SP_FIELD(Refresh, master)});
  m.def<SquareSum, square_sum_cpu, SP_CUDA(square_sum_cuda)>(
      "optimiserSquareSum", {SP_FIELD(SquareSum, a), SP_FIELD(SquareSum, out)});
  m.def<ClipFactor, clip_factor_cpu, SP_CUDA(clip_factor_cuda)>(
      "optimiserClipFactor", {SP_FIELD(ClipFactor, square_sum), SP_FIELD(ClipFactor, norm),
                              SP_FIELD(ClipFactor, factor), SP_FIELD(ClipFactor, max_norm)});
  m.def<Scale, scale_cpu, SP_CUDA(scale_cuda)>(
      "optimiserScale", {SP_FIELD(Scale, a), SP_FIELD(Scale, out), SP_FIELD(Scale, factor)});
  m.def<PlanQuery, query>("optimiserPlan", {SP_FIELD(PlanQuery, sizes), SP_FIELD(PlanQuery, block),
                                            SP_FIELD(PlanQuery, sums), SP_FIELD(PlanQuery, out)});
}

}  // namespace surprisal::optimiser
