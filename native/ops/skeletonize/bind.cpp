#include "node/bind.h"
#include "ops/skeletonize/op.h"

namespace surprisal::skeletonize {

void bind(node::Module& m) {
  m.def<Forward, forward>(
      "skeletonize",
      {SP_FIELD(Forward, mask), SP_FIELD(Forward, result), SP_FIELD(Forward, images),
       SP_FIELD(Forward, planes), SP_FIELD(Forward, rows), SP_FIELD(Forward, columns),
       SP_FIELD(Forward, volume), SP_FIELD(Forward, per_value), SP_FIELD(Forward, radius),
       SP_FIELD(Forward, classes), SP_FIELD(Forward, ignored)});
}

}  // namespace surprisal::skeletonize
