#include "node/bind.h"
#include "ops/emd1d/op.h"

namespace surprisal::emd1d {

void bind(node::Module& m) {
  m.def<Transport, transport>(
      "emd1d", {SP_FIELD(Transport, x), SP_FIELD(Transport, y), SP_FIELD(Transport, a),
                SP_FIELD(Transport, b), SP_FIELD(Transport, directions), SP_FIELD(Transport, value),
                SP_FIELD(Transport, dx), SP_FIELD(Transport, dy), SP_FIELD(Transport, da),
                SP_FIELD(Transport, db), SP_FIELD(Transport, batch), SP_FIELD(Transport, n),
                SP_FIELD(Transport, m), SP_FIELD(Transport, width),
                SP_FIELD(Transport, projections), SP_FIELD(Transport, p)});
}

}  // namespace surprisal::emd1d
