#include "node/bind.h"
#include "ops/pool/op.h"

namespace surprisal::pool {

void bind(node::Module& m) {
  const std::initializer_list<node::Member> fields = {
      SP_FIELD(Pool, image),    SP_FIELD(Pool, result),        SP_FIELD(Pool, index),
      SP_FIELD(Pool, planes),   SP_FIELD(Pool, size),          SP_FIELD(Pool, result_size),
      SP_FIELD(Pool, kernel),   SP_FIELD(Pool, stride),        SP_FIELD(Pool, padding),
      SP_FIELD(Pool, dilation), SP_FIELD(Pool, count_padding), SP_FIELD(Pool, divisor)};
  m.def<Pool, max_pool>("maxPool", fields);
  m.def<Pool, avg_pool>("avgPool", fields);
  m.def<Pool, max_pool_backward>("maxPoolBackward", fields);
  m.def<Pool, avg_pool_backward>("avgPoolBackward", fields);
}

}  // namespace surprisal::pool
