#include "node/bind.h"
#include "ops/channel_norm/op.h"

namespace surprisal::channel_norm {

void bind(node::Module& m) {
  m.def<Forward, forward>(
      "channelNormForward",
      {SP_FIELD(Forward, x), SP_FIELD(Forward, y), SP_FIELD(Forward, mean), SP_FIELD(Forward, r),
       SP_FIELD(Forward, weight), SP_FIELD(Forward, bias), SP_FIELD(Forward, running_mean),
       SP_FIELD(Forward, running_var), SP_FIELD(Forward, batch), SP_FIELD(Forward, channels),
       SP_FIELD(Forward, size), SP_FIELD(Forward, groups), SP_FIELD(Forward, eps),
       SP_FIELD(Forward, momentum), SP_FIELD(Forward, fixed)});
  m.def<Backward, backward>(
      "channelNormBackward",
      {SP_FIELD(Backward, x), SP_FIELD(Backward, g), SP_FIELD(Backward, mean),
       SP_FIELD(Backward, r), SP_FIELD(Backward, weight), SP_FIELD(Backward, batch),
       SP_FIELD(Backward, channels), SP_FIELD(Backward, size), SP_FIELD(Backward, groups),
       SP_FIELD(Backward, fixed), SP_FIELD(Backward, dx), SP_FIELD(Backward, dweight),
       SP_FIELD(Backward, dbias)});
}

}  // namespace surprisal::channel_norm
