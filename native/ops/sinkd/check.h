// The facts that the CPU and the CUDA form assert.
#pragma once
#include "core/check.h"
#include "ops/sinkd/op.h"

namespace surprisal::sinkd {

constexpr int64_t kStats = sizeof(RowStats) / sizeof(double);

inline bool reduced(const Problem& op) {
  return static_cast<Reduction>(op.reduction) != Reduction::none;
}
inline bool averaged(const Problem& op) {
  return static_cast<Reduction>(op.reduction) == Reduction::mean;
}
inline RowStats* stats_of(const View& stats) {
  return reinterpret_cast<RowStats*>(stats.as<double>());
}

inline void check(const Problem& op, const View& stats) {
  const int64_t all = op.problems * op.rows;
  require(op.student.size == all * op.classes && op.teacher.size == op.student.size,
          "sinkd: sizes of the rows");
  require(op.student.dtype == op.teacher.dtype, "sinkd: dtypes differ");
  require(!op.mask || (op.mask.size == all && size_of(op.mask.dtype) == 1), "sinkd: mask");
  require(stats.size == all * kStats, "sinkd: size of rowStats");
}
inline void check_forward(const Forward& op) {
  check(op, op.row_stats);
  require(!op.slopes || op.slopes.size == op.problems * op.rows * op.rows, "sinkd: slopes");
  require(op.loss.size == (reduced(op) ? 1 : op.problems), "sinkd: size of loss");
}
inline void check_backward(const Backward& op) {
  check(op, op.row_stats);
  require(op.slopes.size == op.problems * op.rows * op.rows, "sinkd: slopes");
  require(op.upstream.size == (reduced(op) ? 1 : op.problems), "sinkd: size of upstream");
  require(op.grad_student.size == op.student.size && op.grad_student.dtype == op.student.dtype,
          "sinkd: gradStudent");
}

}  // namespace surprisal::sinkd
