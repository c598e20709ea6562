// The facts that the CPU and the CUDA form assert.
#pragma once
#include "core/check.h"
#include "ops/uld/op.h"

namespace surprisal::uld {

inline void check(const Problem& op, const View& row_loss, const View& grad) {
  require(op.student.size == op.rows * op.student_classes &&
              op.teacher.size == op.rows * op.teacher_classes,
          "uldLoss: sizes of the rows");
  require(op.student.dtype == op.teacher.dtype, "uldLoss: dtypes differ");
  require(row_loss.size == op.rows, "uldLoss: rowLoss");
  require(!grad || (grad.size == op.student.size && grad.dtype == op.student.dtype),
          "uldLoss: gradStudent");
}

}  // namespace surprisal::uld
