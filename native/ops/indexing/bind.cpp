#include "node/bind.h"
#include "ops/indexing/op.h"

namespace surprisal::indexing {

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
}

}  // namespace surprisal::indexing
