#include "node/bind.h"
#include "ops/sinkhorn/op.h"

namespace surprisal::sinkhorn {

#define PROBLEM_FIELDS(Op)                                                                      \
  SP_FIELD(Op, x), SP_FIELD(Op, y), SP_FIELD(Op, cost), SP_FIELD(Op, a), SP_FIELD(Op, b),       \
      SP_FIELD(Op, labels_x), SP_FIELD(Op, labels_y), SP_FIELD(Op, label_cost),                 \
      SP_FIELD(Op, starts_x), SP_FIELD(Op, starts_y), SP_FIELD(Op, batch), SP_FIELD(Op, width), \
      SP_FIELD(Op, labels), SP_FIELD(Op, kind), SP_FIELD(Op, caller), SP_FIELD(Op, epsilon),    \
      SP_FIELD(Op, rho_a), SP_FIELD(Op, rho_b), SP_FIELD(Op, debias), SP_FIELD(Op, tolerance),  \
      SP_FIELD(Op, max_iterations), SP_FIELD(Op, geomloss), SP_FIELD(Op, power),                \
      SP_FIELD(Op, scaling), SP_FIELD(Op, workspace_bytes), SP_FIELD(Op, potentials)

void bind(node::Module& m) {
  m.def<Solve, solve>("sinkhornSolve",
                      {PROBLEM_FIELDS(Solve), SP_FIELD(Solve, value), SP_FIELD(Solve, f),
                       SP_FIELD(Solve, g), SP_FIELD(Solve, info)});
  m.def<Gradients, gradients>(
      "sinkhornGradients",
      {PROBLEM_FIELDS(Gradients), SP_FIELD(Gradients, upstream), SP_FIELD(Gradients, dx),
       SP_FIELD(Gradients, dy), SP_FIELD(Gradients, dcost), SP_FIELD(Gradients, da),
       SP_FIELD(Gradients, db), SP_FIELD(Gradients, dlabel_cost)});
  m.def<Plan, plan>("sinkhornPlan", {PROBLEM_FIELDS(Plan), SP_FIELD(Plan, out)});
  m.def<Apply, apply>("sinkhornApply",
                      {PROBLEM_FIELDS(Apply), SP_FIELD(Apply, v), SP_FIELD(Apply, out),
                       SP_FIELD(Apply, columns), SP_FIELD(Apply, transposed)});
}

}  // namespace surprisal::sinkhorn
