#include "node/bind.h"
#include "ops/betti_matching/op.h"

namespace surprisal::betti_matching {

#define PROBLEM_FIELDS(Op)                                                                 \
  SP_FIELD(Op, prediction), SP_FIELD(Op, target), SP_FIELD(Op, shape), SP_FIELD(Op, axes), \
      SP_FIELD(Op, caller), SP_FIELD(Op, degrees), SP_FIELD(Op, filtration),               \
      SP_FIELD(Op, intersection), SP_FIELD(Op, positive_bars), SP_FIELD(Op, essential),    \
      SP_FIELD(Op, padding), SP_FIELD(Op, pad), SP_FIELD(Op, min_length), SP_FIELD(Op, cancel)

void bind(node::Module& m) {
  m.def<Pairs, pairs>("bettiMatchingPairs",
                      {PROBLEM_FIELDS(Pairs), SP_FIELD(Pairs, capacity), SP_FIELD(Pairs, threshold),
                       SP_FIELD(Pairs, counts), SP_FIELD(Pairs, pairs), SP_FIELD(Pairs, values),
                       SP_FIELD(Pairs, metrics)});
  m.def<Loss, loss>(
      "bettiMatchingLoss",
      {PROBLEM_FIELDS(Loss), SP_FIELD(Loss, weight_matched), SP_FIELD(Loss, weight_prediction),
       SP_FIELD(Loss, weight_target), SP_FIELD(Loss, one_zero), SP_FIELD(Loss, reduction),
       SP_FIELD(Loss, loss), SP_FIELD(Loss, grad)});
  m.def<Scale, scale>("bettiMatchingScale", {SP_FIELD(Scale, grad), SP_FIELD(Scale, upstream),
                                             SP_FIELD(Scale, probability), SP_FIELD(Scale, out),
                                             SP_FIELD(Scale, images), SP_FIELD(Scale, factor)});
}

}  // namespace surprisal::betti_matching
