#include "node/bind.h"
#include "ops/sinkhorn_knopp/op.h"
#include "ops/sinkhorn_knopp/plan.h"

namespace surprisal::sinkhorn_knopp {

#define PROBLEM(Op)                                                                          \
  SP_FIELD(Op, x), SP_FIELD(Op, rows), SP_FIELD(Op, columns), SP_FIELD(Op, batch),           \
      SP_FIELD(Op, n), SP_FIELD(Op, m), SP_FIELD(Op, iterations), SP_FIELD(Op, temperature), \
      SP_FIELD(Op, matrix), SP_FIELD(Op, columns_first)

namespace {

// What would be launched, for tests.
struct LaunchQuery : Sizes {
  View out;  // float64: whether a thread has a matrix; else threads of a block, of a matrix, blocks
             // of one, matrices at a time, chunks of a block, K and the rest in shared memory,
             // bytes; bytes of scratch; by logarithms blocks, matrices at a time, whether together;
             // most scratch; scratch by logarithms
};

void query(const LaunchQuery& op) {
  require(op.out.size == 15, "sinkhornKnopp: size of the launches");
  const Teams t = plan_teams(op);
  const Logs l = plan_logs(op);
  const double values[] = {double(in_lanes(op)),    double(t.threads),
                           double(t.each),          double(t.blocks),
                           double(t.count),         double(t.chunks),
                           double(t.held),          double(t.kept_here),
                           double(t.shared),        double(scratch_bytes(t, op.element)),
                           double(l.blocks),        double(l.count),
                           double(l.together),      double(scratch_of_all(op)),
                           double(scratch_bytes(l))};
  for (int i = 0; i < 15; ++i) op.out.as<double>()[i] = values[i];
}

}  // namespace

void bind(node::Module& m) {
  m.def<Forward, forward, SP_CUDA(forward_cuda)>("sinkhornKnoppForward",
                                                 {PROBLEM(Forward), SP_FIELD(Forward, out)});
  m.def<Backward, backward, SP_CUDA(backward_cuda)>(
      "sinkhornKnoppBackward",
      {PROBLEM(Backward), SP_FIELD(Backward, upstream), SP_FIELD(Backward, grad)});
  m.def<LaunchQuery, query>(
      "sinkhornKnoppLaunches",
      {SP_FIELD(LaunchQuery, batch), SP_FIELD(LaunchQuery, n), SP_FIELD(LaunchQuery, m),
       SP_FIELD(LaunchQuery, iterations), SP_FIELD(LaunchQuery, gradient),
       SP_FIELD(LaunchQuery, element), SP_FIELD(LaunchQuery, processors),
       SP_FIELD(LaunchQuery, shared), SP_FIELD(LaunchQuery, out)});
}

}  // namespace surprisal::sinkhorn_knopp
