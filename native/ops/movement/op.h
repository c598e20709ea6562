// Copies that only move elements: permute, expand, slice, concat, pad and their gradients are one
// strided copy, element index (i0, i1, ...) of `shape`:
//   out[out_offset + sum i_k out_strides[k]] = a[a_offset + sum i_k a_strides[k]]
// Strides count elements and are not negative; a source stride of 0 repeats. Writes must not
// overlap. Triangle keeps column j of row i where j - i <= diagonal (lower) or >= it, 0 elsewhere.
#pragma once
#include "core/view.h"

namespace surprisal::movement {

struct StridedCopy {
  View a;
  View out;  // a's dtype; elements not addressed keep their values
  Dims shape, a_strides, out_strides;
  int64_t a_offset = 0, out_offset = 0;
};
struct Triangle {
  View a;    // (batch, rows, cols)
  View out;  // (batch, rows, cols)
  int64_t rows = 0, cols = 0;
  int64_t diagonal = 0;
  bool lower = true;
};
struct Fill {
  View out;
  double value = 0;
};

void strided_copy_cpu(const StridedCopy& op);
void triangle_cpu(const Triangle& op);
void fill_cpu(const Fill& op);
void strided_copy_cuda(const StridedCopy& op, cuda::Stream& stream);
void triangle_cuda(const Triangle& op, cuda::Stream& stream);
void fill_cuda(const Fill& op, cuda::Stream& stream);

}  // namespace surprisal::movement
