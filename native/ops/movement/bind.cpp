#include "node/bind.h"
#include "ops/movement/op.h"
#include "ops/movement/plan.h"

namespace surprisal::movement {
namespace {

// For tests: what plan() decides, as numbers.
struct PlanQuery {
  Dims shape, a_strides, out_strides;
  int64_t width = 4, a_address = 0, out_address = 0;
  View out;  // float64 (4)
};

void query(const PlanQuery& op) {
  const Moved axes = merged(op.shape, op.a_strides, op.out_strides);
  const Plan p = plan(axes, op.width, uint64_t(op.a_address), uint64_t(op.out_address));
  double* out = op.out.as<double>();
  out[0] = p.how;
  out[1] = p.pack;
  out[2] = p.across;
  out[3] = static_cast<double>(p.blocks);
}

// The same of a triangle: elements an access, and items and blocks in all.
struct TriangleQuery {
  int64_t size = 0, rows = 1, cols = 1, width = 4;
  bool aligned = true;
  View out;  // float64 (3)
};

void query_triangle(const TriangleQuery& op) {
  const int pack = triangle_pack(op.cols, op.width, op.aligned);
  const Axes<2> axes = triangle_axes(op.size, op.rows, op.cols, pack);
  const int64_t items = axes.count(axes.rank);
  double* out = op.out.as<double>();
  out[0] = pack;
  out[1] = static_cast<double>(items);
  out[2] = static_cast<double>(blocks_of(items));
}

}  // namespace

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
  m.def<PlanQuery, query>(
      "stridedCopyPlan",
      {SP_FIELD(PlanQuery, shape), SP_FIELD(PlanQuery, a_strides), SP_FIELD(PlanQuery, out_strides),
       SP_FIELD(PlanQuery, width), SP_FIELD(PlanQuery, a_address), SP_FIELD(PlanQuery, out_address),
       SP_FIELD(PlanQuery, out)});
  m.def<TriangleQuery, query_triangle>(
      "trianglePlan", {SP_FIELD(TriangleQuery, size), SP_FIELD(TriangleQuery, rows),
                       SP_FIELD(TriangleQuery, cols), SP_FIELD(TriangleQuery, width),
                       SP_FIELD(TriangleQuery, aligned), SP_FIELD(TriangleQuery, out)});
}

}  // namespace surprisal::movement
