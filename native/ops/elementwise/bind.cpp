#include "node/bind.h"
#include "ops/elementwise/op.h"
#include "ops/elementwise/plan.h"

namespace surprisal::elementwise {
namespace {

// For tests: what plan() decides of a call on arrays of one dtype, as numbers. There are no such
// arrays: their sizes may be any.
struct PlanQuery {
  Dims shape, a_shape, b_shape;
  int32_t dtype = 0;
  bool aligned = true;
  View plan;  // float64 (3)
};

void query(const PlanQuery& op) {
  char somewhere = 0;
  const auto array = [&](const Dims& shape) {
    return View{&somewhere, DType(op.dtype), shape.count()};
  };
  const Binary binary{int32_t(Function::add),
                      array(op.a_shape),
                      array(op.b_shape),
                      array(op.shape),
                      0,
                      0,
                      op.shape,
                      op.a_shape,
                      op.b_shape};
  const Call call = call_of(binary);
  const Plan p = plan(call, axes_of(call), op.aligned);
  double* out = op.plan.as<double>();
  out[0] = p.packs;
  out[1] = p.broadcast;
  out[2] = static_cast<double>(blocks_of(op.shape.count(), p.packs));
}

}  // namespace

// The fields that most calls leave out come last: arguments that are not passed cost nothing.
void bind(node::Module& m) {
  m.def<Unary, unary, SP_CUDA(unary_cuda)>(
      "elementwiseUnary", {SP_FIELD(Unary, function), SP_FIELD(Unary, a), SP_FIELD(Unary, out),
                           SP_FIELD(Unary, p), SP_FIELD(Unary, q)});
  m.def<Binary, binary, SP_CUDA(binary_cuda)>(
      "elementwiseBinary",
      {SP_FIELD(Binary, function), SP_FIELD(Binary, a), SP_FIELD(Binary, b), SP_FIELD(Binary, out),
       SP_FIELD(Binary, p), SP_FIELD(Binary, q), SP_FIELD(Binary, shape), SP_FIELD(Binary, a_shape),
       SP_FIELD(Binary, b_shape)});
  m.def<Ternary, ternary, SP_CUDA(ternary_cuda)>(
      "elementwiseTernary",
      {SP_FIELD(Ternary, function), SP_FIELD(Ternary, a), SP_FIELD(Ternary, b),
       SP_FIELD(Ternary, c), SP_FIELD(Ternary, out), SP_FIELD(Ternary, p), SP_FIELD(Ternary, q),
       SP_FIELD(Ternary, shape), SP_FIELD(Ternary, a_shape), SP_FIELD(Ternary, b_shape),
       SP_FIELD(Ternary, c_shape)});
  m.def<Accumulate, accumulate, SP_CUDA(accumulate_cuda)>(
      "accumulate", {SP_FIELD(Accumulate, out), SP_FIELD(Accumulate, a)});
  m.def<Dropout, dropout, SP_CUDA(dropout_cuda)>(
      "dropout", {SP_FIELD(Dropout, a), SP_FIELD(Dropout, out), SP_FIELD(Dropout, p),
                  SP_FIELD(Dropout, seed), SP_FIELD(Dropout, offset)});
  m.def<PlanQuery, query>(
      "elementwisePlan",
      {SP_FIELD(PlanQuery, shape), SP_FIELD(PlanQuery, a_shape), SP_FIELD(PlanQuery, b_shape),
       SP_FIELD(PlanQuery, dtype), SP_FIELD(PlanQuery, aligned), SP_FIELD(PlanQuery, plan)});
}

}  // namespace surprisal::elementwise
