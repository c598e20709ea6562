#include "node/bind.h"
#include "ops/betti_matching/op.h"

namespace surprisal::betti_matching {

#define PROBLEM_FIELDS(Op)                                                                 \
  SP_FIELD(Op, prediction), SP_FIELD(Op, target), SP_FIELD(Op, shape), SP_FIELD(Op, axes), \
      SP_FIELD(Op, caller), SP_FIELD(Op, degrees), SP_FIELD(Op, filtration),               \
      SP_FIELD(Op, intersection), SP_FIELD(Op, positive_bars), SP_FIELD(Op, essential),    \
      SP_FIELD(Op, padding), SP_FIELD(Op, pad), SP_FIELD(Op, min_length), SP_FIELD(Op, cancel)

void bind(node::Module& m) {
  m.def<Pairs, pairs>(
      "bettiMatchingPairs",
      {PROBLEM_FIELDS(Pairs), SP_FIELD(Pairs, capacity), SP_FIELD(Pairs, threshold),
       SP_FIELD(Pairs, counts), SP_FIELD(Pairs, pairs), SP_FIELD(Pairs, values),
       SP_FIELD(Pairs, metrics), SP_FIELD(Pairs, cycle_capacity), SP_FIELD(Pairs, cycles),
       SP_FIELD(Pairs, cycle_ends), SP_FIELD(Pairs, cycle_sizes)});
  m.def<Loss, loss>(
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
  m.def<Scale, scale>("bettiMatchingScale", {SP_FIELD(Scale, grad), SP_FIELD(Scale, upstream),
                                             SP_FIELD(Scale, probability), SP_FIELD(Scale, out),
                                             SP_FIELD(Scale, images), SP_FIELD(Scale, factor)});
}

}  // namespace surprisal::betti_matching
