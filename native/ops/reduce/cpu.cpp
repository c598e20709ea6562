#include "ops/reduce/op.h"

#include <utility>

#include "ops/reduce/axes.h"

#define SURPRISAL_BODY "ops/reduce/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::reduce {
namespace {

// Copies a so that the kept axes come first, each group in its own order.
template <class T>
void gather(const T* a, const Axes& axes, T* out) {
  int64_t stride[kMaxRank], size[kMaxRank], step[kMaxRank], at[kMaxRank] = {};
  int64_t count = 1;
  for (int d = axes.rank - 1; d >= 0; --d) {
    stride[d] = count;
    count *= axes.size[d];
  }
  for (int pass = 0, k = 0; pass < 2; ++pass) {
    for (int d = 0; d < axes.rank; ++d) {
      if (axes.reduced[d] != (pass == 1)) continue;
      size[k] = axes.size[d];
      step[k++] = stride[d];
    }
  }
  const int last = axes.rank - 1;
  for (int64_t done = 0, offset = 0; done < count; done += size[last]) {
    for (int64_t i = 0; i < size[last]; ++i) out[done + i] = a[offset + i * step[last]];
    for (int d = last - 1; d >= 0; --d) {
      offset += step[d];
      if (++at[d] < size[d]) break;
      offset -= size[d] * step[d];
      at[d] = 0;
    }
  }
}

void run(const Call& call) { SURPRISAL_DISPATCH(reduce::run, call); }

}  // namespace

void reduce(const Reduce& op) {
  require(op.a && op.out && op.shape.count() == op.a.size, "reduce: shape and size differ");
  const Axes axes = merged(op.shape, op.axes);
  Call call{Kind(op.kind), op.a, op.out, op.extra, op.p, 1, 1, 1};
  int groups = 0;
  for (int d = 0; d < axes.rank; ++d) {
    groups += axes.reduced[d];
    (axes.reduced[d] ? call.n : groups ? call.inner : call.outer) *= axes.size[d];
  }
  require(call.outer * call.inner == op.out.size, "reduce: the result has another size");
  require(!op.extra || op.extra.size == op.out.size, "reduce: extra has another size");
  if (op.out.size == 0) return;
  if (groups <= 1) return run(call);
  call.outer *= std::exchange(call.inner, 1);
  visit_any(op.a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    Scratch<T> copy(op.a.size);
    gather(op.a.as<T>(), axes, copy.data());
    call.a.data = copy.data();
    run(call);
  });
}

}  // namespace surprisal::reduce
