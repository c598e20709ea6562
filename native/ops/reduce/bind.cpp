#include "node/bind.h"
#include "ops/reduce/op.h"

namespace surprisal::reduce {

void bind(node::Module& m) {
  m.def<Reduce, reduce>(
      "reduce",
      {SP_FIELD(Reduce, kind), SP_FIELD(Reduce, a), SP_FIELD(Reduce, out), SP_FIELD(Reduce, p),
       SP_FIELD(Reduce, shape), SP_FIELD(Reduce, axes), SP_FIELD(Reduce, extra)});
}

}  // namespace surprisal::reduce
