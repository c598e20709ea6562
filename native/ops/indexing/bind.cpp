#include "node/bind.h"
#include "ops/indexing/op.h"
#include "ops/indexing/plan.h"

namespace surprisal::indexing {
namespace {

struct RowPlanQuery {
  int64_t rows = 0, units = 0;
  int32_t per_lane = 1;
  View out;  // float64 (4)
};

void query_rows(const RowPlanQuery& op) {
  const RowPlan p = plan_rows(op.rows, op.units, op.per_lane);
  double* out = op.out.as<double>();
  out[0] = p.lanes;
  out[1] = static_cast<double>(p.chunk);
  out[2] = static_cast<double>(p.chunks);
  out[3] = static_cast<double>(p.blocks);
}

struct SumPlanQuery {
  int64_t lines = 1, n = 0, size = 0;
  int32_t processors = 1;
  View out;  // float64 (4)
};

void query_sums(const SumPlanQuery& op) {
  const SortPlan p = plan_sort(op.lines, op.size, op.processors);
  double* out = op.out.as<double>();
  out[0] = p.destinations;
  out[1] = static_cast<double>(p.chunks);
  out[2] = static_cast<double>(p.shared);
  out[3] = scatter_compares(op.n, op.size);
}

}  // namespace

void bind(node::Module& m) {
  m.def<Select, select_cpu, SP_CUDA(select_cuda)>(
      "indexSelect",
      {SP_FIELD(Select, a), SP_FIELD(Select, index), SP_FIELD(Select, out), SP_FIELD(Select, outer),
       SP_FIELD(Select, size), SP_FIELD(Select, inner), SP_FIELD(Select, caller)});
  m.def<SelectAdd, select_add_cpu, SP_CUDA(select_add_cuda)>(
      "indexSelectAdd",
      {SP_FIELD(SelectAdd, grad_out), SP_FIELD(SelectAdd, index), SP_FIELD(SelectAdd, grad),
       SP_FIELD(SelectAdd, outer), SP_FIELD(SelectAdd, size), SP_FIELD(SelectAdd, inner),
       SP_FIELD(SelectAdd, skip)});
  m.def<Gather, gather_cpu, SP_CUDA(gather_cuda)>(
      "gather", {SP_FIELD(Gather, a), SP_FIELD(Gather, index), SP_FIELD(Gather, out),
                 SP_FIELD(Gather, shape), SP_FIELD(Gather, index_shape), SP_FIELD(Gather, dim)});
  m.def<ScatterAdd, scatter_add_cpu, SP_CUDA(scatter_add_cuda)>(
      "scatterAdd",
      {SP_FIELD(ScatterAdd, src), SP_FIELD(ScatterAdd, index), SP_FIELD(ScatterAdd, out),
       SP_FIELD(ScatterAdd, shape), SP_FIELD(ScatterAdd, index_shape), SP_FIELD(ScatterAdd, dim)});
  m.def<MaskedFill, masked_fill_cpu, SP_CUDA(masked_fill_cuda)>(
      "maskedFill", {SP_FIELD(MaskedFill, a), SP_FIELD(MaskedFill, mask), SP_FIELD(MaskedFill, out),
                     SP_FIELD(MaskedFill, shape), SP_FIELD(MaskedFill, mask_strides),
                     SP_FIELD(MaskedFill, value)});
  m.def<OneHot, one_hot_cpu, SP_CUDA(one_hot_cuda)>(
      "oneHot", {SP_FIELD(OneHot, index), SP_FIELD(OneHot, out), SP_FIELD(OneHot, classes)});
  m.def<RowPlanQuery, query_rows>("indexingRowPlan",
                                  {SP_FIELD(RowPlanQuery, rows), SP_FIELD(RowPlanQuery, units),
                                   SP_FIELD(RowPlanQuery, per_lane), SP_FIELD(RowPlanQuery, out)});
  m.def<SumPlanQuery, query_sums>(
      "indexingSumPlan",
      {SP_FIELD(SumPlanQuery, lines), SP_FIELD(SumPlanQuery, n), SP_FIELD(SumPlanQuery, size),
       SP_FIELD(SumPlanQuery, processors), SP_FIELD(SumPlanQuery, out)});
}

}  // namespace surprisal::indexing
