#include "node/bind.h"
#include "ops/betti_matching/op.h"
#include "ops/betti_matching/plan.h"

namespace surprisal::betti_matching {
namespace {

// For tests: what plan_crops() decides, as numbers.
struct PlanQuery {
  Dims spatial;
  bool padded = false;
  int64_t images = 1, head = 0, shared = 0, shared_per_sm = 0;
  int32_t processors = 1;
  View out;  // float64 (6)
};

void query(const PlanQuery& op) {
  Crop crop;
  CropPlan p;
  if (crop_of(op.spatial.size, op.spatial.rank, op.padded, crop))
    p = plan_crops(crop, op.images, static_cast<int32_t>(op.head),
                   {op.shared, op.shared_per_sm, op.processors});
  const double numbers[] = {double(p.fits),
                            double(p.blocks),
                            double(p.threads),
                            double(p.layout.bytes),
                            double(p.layout.lists >= 0),
                            double(p.layout.capacity)};
  require(op.out.size == 6, "bettiMatchingPlan: 6 numbers");
  std::copy(std::begin(numbers), std::end(numbers), op.out.as<double>());
}

}  // namespace

#define PROBLEM_FIELDS(Op)                                                                 \
  SP_FIELD(Op, prediction), SP_FIELD(Op, target), SP_FIELD(Op, shape), SP_FIELD(Op, axes), \
      SP_FIELD(Op, caller), SP_FIELD(Op, degrees), SP_FIELD(Op, filtration),               \
      SP_FIELD(Op, intersection), SP_FIELD(Op, positive_bars), SP_FIELD(Op, essential),    \
      SP_FIELD(Op, padding), SP_FIELD(Op, pad), SP_FIELD(Op, min_length),                  \
      SP_HOST_FIELD(Op, cancel)

void bind(node::Module& m) {
  m.def<Pairs, pairs, SP_CUDA(pairs_cuda)>(
      "bettiMatchingPairs",
      {PROBLEM_FIELDS(Pairs), SP_FIELD(Pairs, capacity), SP_FIELD(Pairs, threshold),
       SP_FIELD(Pairs, counts), SP_FIELD(Pairs, pairs), SP_FIELD(Pairs, values),
       SP_FIELD(Pairs, metrics), SP_FIELD(Pairs, cycle_capacity), SP_FIELD(Pairs, cycles),
       SP_FIELD(Pairs, cycle_ends), SP_FIELD(Pairs, cycle_sizes)});
  m.def<Loss, loss, SP_CUDA(loss_cuda)>(
      "bettiMatchingLoss",
      {PROBLEM_FIELDS(Loss), SP_FIELD(Loss, weight_matched), SP_FIELD(Loss, weight_prediction),
       SP_FIELD(Loss, weight_target), SP_FIELD(Loss, one_zero), SP_FIELD(Loss, reduction),
       SP_FIELD(Loss, loss), SP_FIELD(Loss, grad)});
  m.def<BarLoss, bar_loss>(
      "barcodeLoss",
      {PROBLEM_FIELDS(BarLoss), SP_FIELD(BarLoss, kind), SP_FIELD(BarLoss, weight_matched),
       SP_FIELD(BarLoss, weight_prediction), SP_FIELD(BarLoss, weight_target),
       SP_FIELD(BarLoss, perfect), SP_FIELD(BarLoss, exponent), SP_FIELD(BarLoss, numbers),
       SP_FIELD(BarLoss, reduction), SP_FIELD(BarLoss, loss), SP_FIELD(BarLoss, grad)});
  m.def<Scale, scale, SP_CUDA(scale_cuda)>(
      "bettiMatchingScale",
      {SP_FIELD(Scale, grad), SP_FIELD(Scale, upstream), SP_FIELD(Scale, probability),
       SP_FIELD(Scale, out), SP_FIELD(Scale, images), SP_FIELD(Scale, factor)});
  m.def<Sparse, sparse>(
      "bettiMatchingSparse",
      {SP_FIELD(Sparse, grad), SP_FIELD(Sparse, probability), SP_FIELD(Sparse, count),
       SP_FIELD(Sparse, index), SP_FIELD(Sparse, value)});
  m.def<Scatter, scatter, SP_CUDA(scatter_cuda)>(
      "bettiMatchingScatter",
      {SP_FIELD(Scatter, index), SP_FIELD(Scatter, value), SP_FIELD(Scatter, upstream),
       SP_FIELD(Scatter, out), SP_FIELD(Scatter, images), SP_FIELD(Scatter, factor)});
  m.def<Fits, fits, SP_CUDA(fits_cuda)>("bettiMatchingFits",
                                        {SP_FIELD(Fits, prediction), SP_FIELD(Fits, spatial),
                                         SP_FIELD(Fits, padded), SP_HOST_FIELD(Fits, out)});
  m.def<Labels, labels, SP_CUDA(labels_cuda)>(
      "bettiMatchingLabels",
      {SP_FIELD(Labels, target), SP_FIELD(Labels, channels), SP_FIELD(Labels, caller)});
  m.def<PlanQuery, query>(
      "bettiMatchingPlan",
      {SP_FIELD(PlanQuery, spatial), SP_FIELD(PlanQuery, padded), SP_FIELD(PlanQuery, images),
       SP_FIELD(PlanQuery, head), SP_FIELD(PlanQuery, shared), SP_FIELD(PlanQuery, shared_per_sm),
       SP_FIELD(PlanQuery, processors), SP_FIELD(PlanQuery, out)});
}

}  // namespace surprisal::betti_matching
