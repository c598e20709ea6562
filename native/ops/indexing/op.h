// Reading and writing at indices (int32 or int64). Every index is checked before any element is
// touched; the first one out of range is reported as a RangeError in the caller's words.
// With "line" meaning the elements that differ in the coordinate along the indexed axis only:
//   Select      out[o, j, :] = a[o, index[j], :]           indexSelect, embedding
//   SelectAdd   grad[o, s, :] = sum over index[j] = s of grad_out[o, j, :]    its gradient
//   Gather      out[.., j, ..] = a[.., index[.., j, ..], ..]
//   ScatterAdd  out[.., index[.., j, ..], ..] += src[.., j, ..]   also the gradient of Gather
// Sums run in order of j, partitioned by destination: no atomics, the same bits for any thread
// count. 16-bit floats accumulate in float32, rounded once.
#pragma once
#include "core/view.h"

namespace surprisal::indexing {

enum class Caller : int32_t { index_select, embedding, gather, scatter_add, one_hot };

struct Select {
  View a;      // (outer, size, inner)
  View index;  // (n)
  View out;    // (outer, n, inner)
  int64_t outer = 1, size = 0, inner = 1;
  int32_t caller = 0;
};
struct SelectAdd {
  View grad_out;  // (outer, n, inner)
  View index;     // (n)
  View grad;      // (outer, size, inner), overwritten
  int64_t outer = 1, size = 0, inner = 1;
  int64_t skip = -1;  // contributions of this index are left out (the padding of an embedding)
};
struct Gather {
  View a;      // of shape `shape`
  View index;  // of shape `index_shape`, no axis but `dim` longer than a's
  View out;    // of shape `index_shape`
  Dims shape, index_shape;
  int32_t dim = 0;
};
struct ScatterAdd {
  View src;    // of shape `index_shape`
  View index;  // of shape `index_shape`
  View out;    // of shape `shape`, added to
  Dims shape, index_shape;
  int32_t dim = 0;
};
struct MaskedFill {
  View a;     // (..)
  View mask;  // bool, read through mask_strides
  View out;   // (..)
  Dims shape, mask_strides;
  double value = 0;
};
struct OneHot {
  View index;  // (n)
  View out;    // (n, classes) of any dtype
  int64_t classes = 0;
};

void select_cpu(const Select& op);
void select_add_cpu(const SelectAdd& op);
void gather_cpu(const Gather& op);
void scatter_add_cpu(const ScatterAdd& op);
void masked_fill_cpu(const MaskedFill& op);
void one_hot_cpu(const OneHot& op);

void select_cuda(const Select& op, cuda::Stream& stream);
void select_add_cuda(const SelectAdd& op, cuda::Stream& stream);
void gather_cuda(const Gather& op, cuda::Stream& stream);
void scatter_add_cuda(const ScatterAdd& op, cuda::Stream& stream);
void masked_fill_cuda(const MaskedFill& op, cuda::Stream& stream);
void one_hot_cuda(const OneHot& op, cuda::Stream& stream);

}  // namespace surprisal::indexing
