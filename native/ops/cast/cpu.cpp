#include "ops/cast/op.h"

#define SURPRISAL_BODY "ops/cast/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::cast {

void cast_cpu(const Cast& op) {
  require(op.a && op.out && op.a.size == op.out.size, "cast: a and out differ in size");
  if (op.a.dtype != op.out.dtype) {
    SURPRISAL_DISPATCH(cast::convert, op);
    return;
  }
  const int64_t width = size_of(op.a.dtype);
  parallel_for(op.a.size, int64_t{1} << 16, [&](int64_t begin, int64_t end) {
    std::memcpy(static_cast<char*>(op.out.data) + begin * width,
                static_cast<const char*>(op.a.data) + begin * width, (end - begin) * width);
  });
}

}  // namespace surprisal::cast
