#include "node/bind.h"
#include "ops/optimiser/op.h"

namespace surprisal::optimiser {

void bind(node::Module& m) {
  m.def<Sgd, sgd_cpu>(
      "optimiserSgd",
      {SP_FIELD(Sgd, param), SP_FIELD(Sgd, grad), SP_FIELD(Sgd, master), SP_FIELD(Sgd, buffer),
       SP_FIELD(Sgd, lr), SP_FIELD(Sgd, momentum), SP_FIELD(Sgd, dampening),
       SP_FIELD(Sgd, weight_decay), SP_FIELD(Sgd, nesterov), SP_FIELD(Sgd, first)});
  m.def<Adam, adam_cpu>(
      "optimiserAdam",
      {SP_FIELD(Adam, param), SP_FIELD(Adam, grad), SP_FIELD(Adam, master), SP_FIELD(Adam, m),
       SP_FIELD(Adam, v), SP_FIELD(Adam, lr), SP_FIELD(Adam, beta1), SP_FIELD(Adam, beta2),
       SP_FIELD(Adam, eps), SP_FIELD(Adam, weight_decay), SP_FIELD(Adam, decoupled),
       SP_FIELD(Adam, step)});
  m.def<SquareSum, square_sum_cpu>("optimiserSquareSum",
                                   {SP_FIELD(SquareSum, a), SP_FIELD(SquareSum, out)});
  m.def<Scale, scale_cpu>("optimiserScale",
                          {SP_FIELD(Scale, a), SP_FIELD(Scale, out), SP_FIELD(Scale, factor)});
}

}  // namespace surprisal::optimiser
