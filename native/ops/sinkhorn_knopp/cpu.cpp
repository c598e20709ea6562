#include <memory>
#include <string>
#include <utility>

#include "core/log_scaling.h"
#include "core/values.h"
#include "ops/sinkhorn_knopp/op.h"
#include "ops/sinkhorn_knopp/refusals.h"

#define SURPRISAL_BODY "ops/sinkhorn_knopp/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::sinkhorn_knopp {
namespace {

void check_sums(const View& sums, const char* what, int64_t batch, int64_t count) {
  if (!sums) return;
  require(sums.size == count || sums.size == batch * count, "sinkhornKnopp: size of sums");
  for (int64_t i = 0; i < sums.size; ++i) {
    const double x = value_of(sums, i);
    if (!(x >= 0 && std::isfinite(x))) refuse_sum(what, x, i);
  }
}

void check(const Problem& op) {
  require(op.x.size == op.batch * op.n * op.m, "sinkhornKnopp: size of x");
  check_sums(op.rows, "rows", op.batch, op.n);
  check_sums(op.columns, "columns", op.batch, op.m);
  if (!op.matrix) return;
  for (int64_t i = 0; i < op.x.size; ++i) {
    const double x = value_of(op.x, i);
    if (x < 0) refuse_entry(x, i);
  }
}

}  // namespace

void forward(const Forward& op) {
  check(op);
  require(op.out.size == op.x.size && op.out.dtype == op.x.dtype, "sinkhornKnopp: out");
  SURPRISAL_DISPATCH(sinkhorn_knopp::run, op, nullptr, op.out);
}

void backward(const Backward& op) {
  check(op);
  require(op.upstream.size == op.x.size && op.grad.size == op.x.size, "sinkhornKnopp: gradients");
  SURPRISAL_DISPATCH(sinkhorn_knopp::run, op, &op.upstream, op.grad);
}

}  // namespace surprisal::sinkhorn_knopp
