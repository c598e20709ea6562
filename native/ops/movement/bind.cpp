#include "node/bind.h"
#include "ops/movement/op.h"

namespace surprisal::movement {

void bind(node::Module& m) {
  m.def<StridedCopy, strided_copy_cpu, SP_CUDA(strided_copy_cuda)>(
      "stridedCopy",
      {SP_FIELD(StridedCopy, a), SP_FIELD(StridedCopy, out), SP_FIELD(StridedCopy, shape),
       SP_FIELD(StridedCopy, a_strides), SP_FIELD(StridedCopy, out_strides),
       SP_FIELD(StridedCopy, a_offset), SP_FIELD(StridedCopy, out_offset)});
  m.def<Triangle, triangle_cpu, SP_CUDA(triangle_cuda)>(
      "triangle",
      {SP_FIELD(Triangle, a), SP_FIELD(Triangle, out), SP_FIELD(Triangle, rows),
       SP_FIELD(Triangle, cols), SP_FIELD(Triangle, diagonal), SP_FIELD(Triangle, lower)});
  m.def<Fill, fill_cpu, SP_CUDA(fill_cuda)>("fill", {SP_FIELD(Fill, out), SP_FIELD(Fill, value)});
}

}  // namespace surprisal::movement
