#include "node/bind.h"
#include "ops/cdist/op.h"

namespace surprisal::cdist {

void bind(node::Module& m) {
  m.def<Cdist, cdist>("cdist", {SP_FIELD(Cdist, x), SP_FIELD(Cdist, y), SP_FIELD(Cdist, result),
                                SP_FIELD(Cdist, batch), SP_FIELD(Cdist, n), SP_FIELD(Cdist, m),
                                SP_FIELD(Cdist, width), SP_FIELD(Cdist, p)});
  m.def<Backward, cdist_backward>(
      "cdistBackward", {SP_FIELD(Backward, x), SP_FIELD(Backward, y), SP_FIELD(Backward, result),
                        SP_FIELD(Backward, g), SP_FIELD(Backward, dx), SP_FIELD(Backward, batch),
                        SP_FIELD(Backward, n), SP_FIELD(Backward, m), SP_FIELD(Backward, width),
                        SP_FIELD(Backward, transposed), SP_FIELD(Backward, p)});
}

}  // namespace surprisal::cdist
