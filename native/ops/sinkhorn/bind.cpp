#include "node/bind.h"
#include "ops/sinkhorn/contract.h"
#include "ops/sinkhorn/op.h"
#include "ops/sinkhorn/plan.h"
#include "ops/sinkhorn/unroll.h"

namespace surprisal::sinkhorn {

#define PROBLEM_FIELDS(Op)                                                                   \
  SP_FIELD(Op, x), SP_FIELD(Op, y), SP_FIELD(Op, cost), SP_FIELD(Op, a), SP_FIELD(Op, b),    \
      SP_FIELD(Op, labels_x), SP_FIELD(Op, labels_y), SP_FIELD(Op, label_cost),              \
      SP_HOST_FIELD(Op, starts_x), SP_HOST_FIELD(Op, starts_y), SP_FIELD(Op, batch),         \
      SP_FIELD(Op, width), SP_FIELD(Op, labels), SP_FIELD(Op, kind), SP_FIELD(Op, caller),   \
      SP_FIELD(Op, epsilon), SP_FIELD(Op, rho_a), SP_FIELD(Op, rho_b), SP_FIELD(Op, debias), \
      SP_FIELD(Op, tolerance), SP_FIELD(Op, max_iterations), SP_FIELD(Op, geomloss),         \
      SP_FIELD(Op, power), SP_FIELD(Op, scaling), SP_FIELD(Op, workspace_bytes),             \
      SP_FIELD(Op, potentials)

namespace {

// What would be launched, for tests.
struct LaunchQuery : Sizes {
  View out;  // float64: threads, blocks of (x,y) and of each self term, together, held in shared
             // memory, held, bytes of shared memory, by tensor cores, terms in turn
};

void query(const LaunchQuery& op) {
  require(op.out.size == 9, "sinkhorn: size of the launches");
  const Launches l = plan_solve(op);
  const double values[] = {double(l.threads),  double(l.cross),       double(l.self),
                           double(l.together), double(l.held_shared), double(l.held),
                           double(l.shared),   double(l.products),    double(l.in_turn)};
  for (int i = 0; i < 9; ++i) op.out.as<double>()[i] = values[i];
}

}  // namespace

void bind(node::Module& m) {
  m.def<Solve, solve, SP_CUDA(solve_cuda)>(
      "sinkhornSolve",
      {PROBLEM_FIELDS(Solve), SP_FIELD(Solve, value), SP_FIELD(Solve, f), SP_FIELD(Solve, g),
       SP_FIELD(Solve, info), SP_FIELD(Solve, init_f), SP_FIELD(Solve, init_g)});
  m.def<Gradients, gradients, SP_CUDA(gradients_cuda)>(
      "sinkhornGradients",
      {PROBLEM_FIELDS(Gradients), SP_FIELD(Gradients, upstream), SP_FIELD(Gradients, dx),
       SP_FIELD(Gradients, dy), SP_FIELD(Gradients, dcost), SP_FIELD(Gradients, da),
       SP_FIELD(Gradients, db), SP_FIELD(Gradients, dlabel_cost)});
  m.def<Unroll, unroll>("sinkhornUnroll",
                        {PROBLEM_FIELDS(Unroll), SP_FIELD(Unroll, value), SP_FIELD(Unroll, f),
                         SP_FIELD(Unroll, g), SP_FIELD(Unroll, info), SP_FIELD(Unroll, init_f),
                         SP_FIELD(Unroll, init_g), SP_FIELD(Unroll, steps)});
  m.def<UnrollBackward, unroll_backward>(
      "sinkhornUnrollBackward",
      {PROBLEM_FIELDS(UnrollBackward), SP_FIELD(UnrollBackward, steps),
       SP_FIELD(UnrollBackward, upstream), SP_FIELD(UnrollBackward, upstream_f),
       SP_FIELD(UnrollBackward, upstream_g), SP_FIELD(UnrollBackward, dx),
       SP_FIELD(UnrollBackward, dy), SP_FIELD(UnrollBackward, dcost), SP_FIELD(UnrollBackward, da),
       SP_FIELD(UnrollBackward, db), SP_FIELD(UnrollBackward, dlabel_cost)});
  m.def<Plan, plan, SP_CUDA(plan_cuda)>("sinkhornPlan",
                                        {PROBLEM_FIELDS(Plan), SP_FIELD(Plan, out)});
  m.def<Apply, apply, SP_CUDA(apply_cuda)>(
      "sinkhornApply", {PROBLEM_FIELDS(Apply), SP_FIELD(Apply, v), SP_FIELD(Apply, out),
                        SP_FIELD(Apply, columns), SP_FIELD(Apply, transposed)});
  m.def<Contract, contract>("sinkhornContract",
                            {PROBLEM_FIELDS(Contract), SP_FIELD(Contract, u), SP_FIELD(Contract, w),
                             SP_FIELD(Contract, v), SP_FIELD(Contract, out),
                             SP_FIELD(Contract, inner), SP_FIELD(Contract, columns)});
  m.def<LaunchQuery, query>(
      "sinkhornLaunches",
      {SP_FIELD(LaunchQuery, batch), SP_FIELD(LaunchQuery, n), SP_FIELD(LaunchQuery, m),
       SP_FIELD(LaunchQuery, depth), SP_FIELD(LaunchQuery, debias), SP_FIELD(LaunchQuery, dots),
       SP_FIELD(LaunchQuery, element), SP_FIELD(LaunchQuery, held_bytes),
       SP_FIELD(LaunchQuery, workspace), SP_FIELD(LaunchQuery, processors),
       SP_FIELD(LaunchQuery, shared), SP_FIELD(LaunchQuery, out)});
}

}  // namespace surprisal::sinkhorn
