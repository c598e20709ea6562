#include "node/bind.h"
#include "ops/softmax/op.h"

namespace surprisal::softmax {

void bind(node::Module& m) {
  m.def<Forward, forward>("softmaxForward",
                          {SP_FIELD(Forward, x), SP_FIELD(Forward, y), SP_FIELD(Forward, outer),
                           SP_FIELD(Forward, n), SP_FIELD(Forward, inner), SP_FIELD(Forward, log)});
  m.def<Backward, backward>("softmaxBackward",
                            {SP_FIELD(Backward, y), SP_FIELD(Backward, g), SP_FIELD(Backward, dx),
                             SP_FIELD(Backward, outer), SP_FIELD(Backward, n),
                             SP_FIELD(Backward, inner), SP_FIELD(Backward, log)});
}

}  // namespace surprisal::softmax
