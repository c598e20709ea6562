#include <memory>
#include <utility>
#include <vector>

#include "core/log_scaling.h"
#include "core/values.h"
#include "ops/sinkd/check.h"
#include "ops/sinkd/op.h"

#define SURPRISAL_BODY "ops/sinkd/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::sinkd {
namespace {

// The rows of a problem that count.
std::vector<int64_t> kept(const Problem& op, int64_t problem) {
  std::vector<int64_t> rows;
  const auto* mask = static_cast<const uint8_t*>(op.mask.data);
  for (int64_t i = problem * op.rows; i < (problem + 1) * op.rows; ++i)
    if (!mask || mask[i]) rows.push_back(i);
  return rows;
}

}  // namespace

void forward(const Forward& op) {
  check_forward(op);
  double total = 0;
  for (int64_t k = 0; k < op.problems; ++k) {
    const std::vector<int64_t> rows = kept(op, k);
    double* const slopes = op.slopes ? op.slopes.as<double>() + k * op.rows * op.rows : nullptr;
    const double loss = op.weight * SURPRISAL_DISPATCH(sinkd::forward, op, rows,
                                                       stats_of(op.row_stats), slopes, op.detached);
    total += loss;
    if (!reduced(op)) set_value(op.loss, k, loss);
  }
  if (reduced(op)) set_value(op.loss, 0, averaged(op) ? total / double(op.problems) : total);
}

void backward(const Backward& op) {
  check_backward(op);
  const int64_t bytes = op.grad_student.size * size_of(op.grad_student.dtype);
  if (op.mask && bytes > 0) std::memset(op.grad_student.data, 0, size_t(bytes));
  for (int64_t k = 0; k < op.problems; ++k) {
    const std::vector<int64_t> rows = kept(op, k);
    const double scale = value_of(op.upstream, reduced(op) ? 0 : k) * op.weight /
                         (averaged(op) ? double(op.problems) : 1);
    const double* slopes = op.slopes.as<double>() + k * op.rows * op.rows;
    SURPRISAL_DISPATCH(sinkd::backward, op, rows, stats_of(op.row_stats), slopes, scale);
  }
}

}  // namespace surprisal::sinkd
