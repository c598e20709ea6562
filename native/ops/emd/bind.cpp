#include "node/bind.h"
#include "ops/emd/op.h"

namespace surprisal::emd {

#define PLAN_FIELDS(Op) \
  SP_FIELD(Op, pairs), SP_FIELD(Op, mass), SP_FIELD(Op, batch), SP_FIELD(Op, n), SP_FIELD(Op, m)

void bind(node::Module& m) {
  m.def<Solve, solve>("emdSolve", {PLAN_FIELDS(Solve), SP_FIELD(Solve, cost), SP_FIELD(Solve, a),
                                   SP_FIELD(Solve, b), SP_FIELD(Solve, value), SP_FIELD(Solve, f),
                                   SP_FIELD(Solve, g), SP_FIELD(Solve, da), SP_FIELD(Solve, db),
                                   SP_FIELD(Solve, info), SP_FIELD(Solve, max_iterations)});
  m.def<Spread, spread>("emdSpread",
                        {PLAN_FIELDS(Spread), SP_FIELD(Spread, factor), SP_FIELD(Spread, out)});
  m.def<Apply, apply>("emdApply", {PLAN_FIELDS(Apply), SP_FIELD(Apply, v), SP_FIELD(Apply, out),
                                   SP_FIELD(Apply, columns), SP_FIELD(Apply, transposed)});
}

}  // namespace surprisal::emd
