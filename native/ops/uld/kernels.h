// Bodies build on each other: their order matters.
#include "cpu/blocks.h"
#include "cpu/row_softmax.h"

namespace uld {

using namespace ::surprisal::uld;
#include "ops/uld/ranks.h"

template <class C>
void run_as(const Problem& op, const double* scale, double* row_loss, const View& grad) {
  const int64_t elements = std::max<int64_t>(1, op.student_classes + op.teacher_classes);
  parallel_for(op.rows, std::max<int64_t>(1, 4096 / elements), [&](int64_t begin, int64_t end) {
    Ranks<C> ranks(op);
    for (int64_t n = begin; n < end; ++n) {
      const bool counts = scale[n] != 0;
      if (counts) ranks.match(n);
      if (row_loss) row_loss[n] = counts ? ranks.loss() : 0;
      if (grad) ranks.write_gradient(n, counts ? scale[n] : 0, grad);
    }
  });
}

// Rows of scale 0 are not read: their loss is 0, and so is their gradient.
void run(const Problem& op, const double* scale, double* row_loss, const View& grad) {
  op.student.dtype == DType::f64 ? run_as<double>(op, scale, row_loss, grad)
                                 : run_as<float>(op, scale, row_loss, grad);
}

}  // namespace uld
