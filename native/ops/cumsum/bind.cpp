#include "node/bind.h"
#include "ops/cumsum/op.h"

namespace surprisal::cumsum {

void bind(node::Module& m) {
  m.def<Cumsum, cumsum>("cumsum",
                        {SP_FIELD(Cumsum, a), SP_FIELD(Cumsum, out), SP_FIELD(Cumsum, outer),
                         SP_FIELD(Cumsum, n), SP_FIELD(Cumsum, inner), SP_FIELD(Cumsum, reverse)});
}

}  // namespace surprisal::cumsum
