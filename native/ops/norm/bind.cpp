#include "node/bind.h"
#include "ops/norm/op.h"

namespace surprisal::norm {

void bind(node::Module& m) {
  m.def<Forward, forward>(
      "normForward", {SP_FIELD(Forward, x), SP_FIELD(Forward, y), SP_FIELD(Forward, r),
                      SP_FIELD(Forward, rows), SP_FIELD(Forward, width), SP_FIELD(Forward, eps),
                      SP_FIELD(Forward, weight), SP_FIELD(Forward, bias), SP_FIELD(Forward, mean)});
  m.def<Backward, backward>(
      "normBackward", {SP_FIELD(Backward, x), SP_FIELD(Backward, g), SP_FIELD(Backward, r),
                       SP_FIELD(Backward, rows), SP_FIELD(Backward, width),
                       SP_FIELD(Backward, weight), SP_FIELD(Backward, mean), SP_FIELD(Backward, dx),
                       SP_FIELD(Backward, dweight), SP_FIELD(Backward, dbias)});
}

}  // namespace surprisal::norm
