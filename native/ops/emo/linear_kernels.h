// Bodies build on each other: their order matters.
#include "cpu/gemm.h"
#include "cpu/blocks.h"
#include "cpu/row_softmax.h"
#include "cpu/logit_terms.h"
#include "cpu/logit_filter.h"
#include "cpu/logit_stream.h"

namespace emo {

using namespace ::surprisal::emo;
#include "ops/emo/norms.h"
#include "ops/emo/stream_terms.h"

template <class A>
LogitPlan plan_linear(const Linear& op, int64_t rows, bool dx, bool dweight) {
  LogitShape shape;
  shape.rows = rows;
  shape.columns = op.classes;
  shape.depth = op.width;
  shape.lanes = 2 * kTileCols<A>;
  shape.unit = sizeof(A);
  shape.row_bytes = EmoTerms<A>::row_bytes(op.classes);
  shape.fixed_bytes = op.classes * int64_t(sizeof(A)) + op.rows * int64_t(5 * sizeof(int64_t)) +
                      rows * (EmoTerms<A>::kept_bytes() + LogitTargets<A>::row_bytes());
  const int64_t lent = op.width * size_of(op.x.dtype);
  const bool aligned = reinterpret_cast<uintptr_t>(op.grad_weight.data) % alignof(A) == 0;
  if (dweight && aligned && lent % int64_t(sizeof(A)) == 0) shape.lent_bytes = lent;
  shape.gradient = dx || dweight;
  shape.gradient_x = dx;
  shape.gradient_weight = dweight;
  shape.weight_accumulates = op.x.dtype == DTypeOf<A>::value;
  shape.budget = op.workspace_bytes;
  shape.threads = num_threads();
  return plan_logits(shape);
}

// Rows of x and of the companion by panels in turn; -1 where there is none.
template <class A>
struct PairedRows {
  static constexpr int64_t kPanel = kTileCols<A>;
  const int64_t rows;
  const Scratch<int64_t> from, label, kept;

  PairedRows(const int64_t* labels, const int64_t* which, int64_t count)
      : rows((count + kPanel - 1) / kPanel * 2 * kPanel), from(rows), label(rows), kept(rows) {
    for (int64_t r = 0; r < rows; ++r) from[r] = label[r] = kept[r] = -1;
    for (int64_t k = 0; k < count; ++k) {
      const int64_t r = k / kPanel * 2 * kPanel + k % kPanel;
      kept[r] = from[r] = which[k];
      label[r] = from[r + kPanel] = labels[which[k]];
    }
  }
};

template <class A>
void run_linear_as(const Linear& op, const RowRules& rules, const int64_t* label,
                   const double* scale, const int64_t* kept, int64_t count, double* row_loss,
                   bool later_x, bool later_weight) {
  const PairedRows<A> rows(label, kept, count);
  const LogitPlan plan = plan_linear<A>(op, rows.rows, bool(op.grad_x), bool(op.grad_weight));
  const LogitPlan later = plan_linear<A>(op, rows.rows, later_x, later_weight);
  const int64_t least = std::max(plan.minimum, later.minimum);
  if (least > op.workspace_bytes) {
    throw Error(Code::invalid_value,
                "linearEmo: expected workspaceBytes to be >= " + std::to_string(least) +
                    " for these shapes, got " + std::to_string(op.workspace_bytes));
  }
  if (count == 0) return;
  const View& embedding = op.embedding ? op.embedding : op.weight;
  const Scratch<A> inverse(op.classes);
  inverse_norms<A>(embedding, op.classes, op.width, inverse.data());
  LogitTargets<A> targets(rows.label.data(), rows.rows);
  EmoTerms<A> terms({rules, op.classes, rows.rows, inverse.data(), rows.label.data(),
                     rows.kept.data(), scale, row_loss, targets});
  LogitProblem<A> problem;
  problem.dtype = op.x.dtype;
  problem.x = op.x.data;
  problem.row = rows.from.data();
  problem.w = op.weight.data;
  problem.companion = embedding.data;
  problem.n = rows.rows;
  problem.V = op.classes;
  problem.D = op.width;
  problem.dx = op.grad_x;
  problem.dw = op.grad_weight;
  problem.target = rows.label.data();
  problem.targets = &targets;
  LogitStream<A>(problem, plan, EmoTerms<A>::row_bytes(op.classes), terms).run();
}

void run_linear(const Linear& op, const RowRules& rules, const int64_t* label, const double* scale,
                const int64_t* kept, int64_t count, double* row_loss, bool later_x,
                bool later_weight) {
  op.x.dtype == DType::f64
      ? run_linear_as<double>(op, rules, label, scale, kept, count, row_loss, later_x, later_weight)
      : run_linear_as<float>(op, rules, label, scale, kept, count, row_loss, later_x, later_weight);
}

}  // namespace emo
