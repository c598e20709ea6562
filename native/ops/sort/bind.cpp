#include "node/bind.h"
#include "ops/sort/op.h"

namespace surprisal::sort {

void bind(node::Module& m) {
  m.def<Sort, sort>("sort", {SP_FIELD(Sort, a), SP_FIELD(Sort, values), SP_FIELD(Sort, indices),
                             SP_FIELD(Sort, outer), SP_FIELD(Sort, n), SP_FIELD(Sort, inner),
                             SP_FIELD(Sort, count), SP_FIELD(Sort, descending)});
}

}  // namespace surprisal::sort
