#if defined(SURPRISAL_CUDA)
#include "cuda/cublaslt.h"
#endif
#include "node/bind.h"
#include "ops/matmul/op.h"
#include "ops/matmul/plan.h"

namespace surprisal::matmul {
namespace {

struct PlanQuery {
  int32_t dtype = 0;
  int64_t m = 0, n = 0, k = 0, batch = 1;
  bool transpose_a = false;
  int32_t processors = 1;
  bool wide = false;
  View out;  // float64 (6)
};

void query(const PlanQuery& op) {
  const Plan p = plan_matmul(
      {DType(op.dtype), op.m, op.n, op.k, op.batch, op.transpose_a, op.processors, op.wide});
  double* out = op.out.as<double>();
  out[0] = static_cast<double>(p.kernel);
  out[1] = p.tile_m;
  out[2] = p.tile_n;
  out[3] = static_cast<double>(p.parts);
  out[4] = static_cast<double>(p.part);
  out[5] = static_cast<double>(p.blocks);
}

// For the GPU suite: 1 where products are cuBLASLt's.
struct LibraryQuery {
  View out;  // float64 (1)
};

void query_library(const LibraryQuery& op) {
  bool found = false;
#if defined(SURPRISAL_CUDA)
  found = cuda::has_library();
#endif
  *op.out.as<double>() = found;
}

}  // namespace

void bind(node::Module& m) {
  m.def<Matmul, forward, SP_CUDA(forward_cuda)>(
      "matmul",
      {SP_FIELD(Matmul, a), SP_FIELD(Matmul, b), SP_FIELD(Matmul, out), SP_FIELD(Matmul, m),
       SP_FIELD(Matmul, n), SP_FIELD(Matmul, k), SP_FIELD(Matmul, batch),
       SP_FIELD(Matmul, transpose_a), SP_FIELD(Matmul, transpose_b), SP_FIELD(Matmul, accumulate),
       SP_HOST_FIELD(Matmul, a_offsets), SP_HOST_FIELD(Matmul, b_offsets)});
  m.def<PlanQuery, query>(
      "matmulPlan",
      {SP_FIELD(PlanQuery, dtype), SP_FIELD(PlanQuery, m), SP_FIELD(PlanQuery, n),
       SP_FIELD(PlanQuery, k), SP_FIELD(PlanQuery, batch), SP_FIELD(PlanQuery, transpose_a),
       SP_FIELD(PlanQuery, processors), SP_FIELD(PlanQuery, wide), SP_FIELD(PlanQuery, out)});
  m.def<LibraryQuery, query_library>("matmulLibrary", {SP_FIELD(LibraryQuery, out)});
}

}  // namespace surprisal::matmul
