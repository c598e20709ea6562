#include "node/bind.h"
#include "ops/region_wise/op.h"

namespace surprisal::region_wise {

void bind(node::Module& m) {
  m.def<Map, map>(
      "regionWiseMap",
      {SP_FIELD(Map, target), SP_FIELD(Map, shape), SP_FIELD(Map, batch), SP_FIELD(Map, channels),
       SP_FIELD(Map, labels), SP_FIELD(Map, ignore), SP_FIELD(Map, caller), SP_FIELD(Map, spacing),
       SP_FIELD(Map, outside), SP_FIELD(Map, map), SP_FIELD(Map, weights)});
}

}  // namespace surprisal::region_wise
