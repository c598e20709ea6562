#include "node/bind.h"
#include "ops/elementwise/op.h"

namespace surprisal::elementwise {

// The fields that most calls leave out come last: arguments that are not passed cost nothing.
void bind(node::Module& m) {
  m.def<Unary, unary>("elementwiseUnary",
                      {SP_FIELD(Unary, function), SP_FIELD(Unary, a), SP_FIELD(Unary, out),
                       SP_FIELD(Unary, p), SP_FIELD(Unary, q)});
  m.def<Binary, binary>(
      "elementwiseBinary",
      {SP_FIELD(Binary, function), SP_FIELD(Binary, a), SP_FIELD(Binary, b), SP_FIELD(Binary, out),
       SP_FIELD(Binary, p), SP_FIELD(Binary, q), SP_FIELD(Binary, shape), SP_FIELD(Binary, a_shape),
       SP_FIELD(Binary, b_shape)});
  m.def<Ternary, ternary>(
      "elementwiseTernary",
      {SP_FIELD(Ternary, function), SP_FIELD(Ternary, a), SP_FIELD(Ternary, b),
       SP_FIELD(Ternary, c), SP_FIELD(Ternary, out), SP_FIELD(Ternary, p), SP_FIELD(Ternary, q),
       SP_FIELD(Ternary, shape), SP_FIELD(Ternary, a_shape), SP_FIELD(Ternary, b_shape),
       SP_FIELD(Ternary, c_shape)});
  m.def<Accumulate, accumulate>("accumulate", {SP_FIELD(Accumulate, out), SP_FIELD(Accumulate, a)});
  m.def<Dropout, dropout>("dropout",
                          {SP_FIELD(Dropout, a), SP_FIELD(Dropout, out), SP_FIELD(Dropout, p),
                           SP_FIELD(Dropout, seed), SP_FIELD(Dropout, offset)});
}

}  // namespace surprisal::elementwise
