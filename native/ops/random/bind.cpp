#include "node/bind.h"
#include "ops/random/op.h"
#include "ops/random/plan.h"

namespace surprisal::random {
namespace {

// For tests: blocks for n numbers of which a thread makes `each`.
struct PlanQuery {
  int64_t n = 0;
  int32_t each = 4;
  View out;  // float64 (1)
};

void query(const PlanQuery& op) {
  *op.out.as<double>() = static_cast<double>(blocks_of(op.n, op.each));
}

}  // namespace

void bind(node::Module& m) {
  m.def<Draw, uniform_cpu, SP_CUDA(uniform_cuda)>(
      "randomUniform", {SP_FIELD(Draw, out), SP_FIELD(Draw, seed), SP_FIELD(Draw, offset)});
  m.def<Draw, normal_cpu, SP_CUDA(normal_cuda)>(
      "randomNormal", {SP_FIELD(Draw, out), SP_FIELD(Draw, seed), SP_FIELD(Draw, offset)});
  m.def<Integers, integers_cpu, SP_CUDA(integers_cuda)>(
      "randomIntegers",
      {SP_FIELD(Integers, out), SP_FIELD(Integers, seed), SP_FIELD(Integers, offset),
       SP_FIELD(Integers, low), SP_FIELD(Integers, high)});
  m.def<PlanQuery, query>(
      "randomPlan", {SP_FIELD(PlanQuery, n), SP_FIELD(PlanQuery, each), SP_FIELD(PlanQuery, out)});
}

}  // namespace surprisal::random
