// Divergence of the rows of two matrices on CUDA; formulas in op.h and core/divergence_terms.h.
// Forward holds both rows in registers (cuda/row_hold.h): maxima and sums of exponentials, then the
// terms, then, where a mean or a sum is differentiated by the student, its gradient: 2 reads and a
// write of the matrix's bytes for forward and gradient together. Other gradients (of the teacher,
// of single rows' losses, of float16) are made in backward, 2 reads and a write each. Six to eight
// exponentials an element keep 16-bit logits under the speed of memory: about half of it is
// predicted.
#include <string>

#include "cuda/launch.h"
#include "ops/divergence/device_rows.h"
#include "ops/divergence/plan.h"

namespace surprisal::divergence {
namespace {

using namespace cuda;

// --- gradients from saved sums -------------------------------------------------------------------

template <class T>
struct Gradients {
  PairRows<T> m;
  Numbers upstream;
  T* student;  // (N, V) or null
  T* teacher;  // (N, V) or null
  bool ready;  // the student's is there already, for an upstream gradient of 1
};

template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    divergence_backward_kernel(Gradients<T> g, bool warp_rows) {
  using C = accumulator_t<T>;
  if (g.ready && g.upstream[0] == 1) return;
  const PairRows<T>& m = g.m;
  const int size = warp_rows ? kWarp : kThreads;
  const int64_t row = block_index() * (kThreads / size) + thread_index() / size;
  if (row >= m.rows) return;
  const RowPart<T> part = row_part(m.input[1], m.rows, m.columns, row);
  const double upstream = g.upstream[m.weights.reduction == Reduction::none ? row : 0];
  const double scale = upstream * m.weights.share(m.totals) * m.weights.weight(row);
  const PairSums sums = load(m.sums + row);
  const Ratio<C> ratio(sums, m.inverse);
  const C by = static_cast<C>(scale * m.inverse);
  T* const student = g.student ? g.student + row * m.columns : nullptr;
  T* const teacher = g.teacher ? g.teacher + row * m.columns : nullptr;
  const int64_t beside = row * m.columns + part.column;
  for (int slot = thread_index() % size; slot < part.slots(); slot += size) {
    C t[kPack<T>], s[kPack<T>], ds[kPack<T>], dt[kPack<T>];
    widen<T>(load_slot(part, slot), t);
    mask_slot(part, slot, PairRows<T>::kNone, t);
    load_beside(m.input[0], m.rows * m.columns, beside + slot * kPack<T>, part.whole(slot),
                part.begin, part.end, slot * kPack<T>, PairRows<T>::kNone, s);
#pragma unroll
    for (int j = 0; j < kPack<T>; ++j) {
      Terms<C, ScalarMath<C>>::slope(m.kind, m.beta, sums, ratio.at(t[j], s[j]), ds[j], dt[j]);
      // A row of weight 0 gets zeros, whatever it holds.
      ds[j] = scale == 0 ? C(0) : ds[j] * by;
      dt[j] = scale == 0 ? C(0) : dt[j] * by;
    }
    if (student) store_slot(student, part, slot, ds);
    if (teacher) store_slot(teacher, part, slot, dt);
  }
}

// --- launches ------------------------------------------------------------------------------------

void raise_nan_weight(const Fault& fault) {
  throw Error(Code::invalid_value,
              "divergence: expected tokenWeight to hold no NaN, got NaN at row " +
                  std::to_string(fault.row));
}

constexpr int64_t kStats = sizeof(PairSums) / sizeof(double);

template <class T>
PairRows<T> rows_of(const Problem& op, PairSums* sums, const TokenRows& weights,
                    const TokenTotals* totals) {
  return {{op.student.as<T>(), op.teacher.as<T>()},
          nullptr,
          op.rows,
          op.classes,
          sums,
          weights,
          totals,
          1 / op.temperature,
          op.beta,
          static_cast<Kind>(op.kind)};
}

TokenRows weights_of(const Problem& op, const PairSums* sums, Stream& stream) {
  return {op.token_weight,
          nullptr,
          &sums->loss,
          kStats,
          op.rows,
          static_cast<Reduction>(op.reduction),
          stream.fault_site(raise_nan_weight)};
}

}  // namespace

void forward_cuda(const Forward& op, cuda::Stream& stream) {
  require(!op.row_stats || op.row_stats.size == op.rows * kStats, "divergence: size of rowStats");
  auto* sums = op.row_stats ? reinterpret_cast<PairSums*>(op.row_stats.as<double>())
                            : stream.scratch<PairSums>(op.rows);
  const TokenRows weights = weights_of(op, sums, stream);
  const TokenTotals* const totals =
      op.grad_student && weights.divides() ? token_totals(weights, false, {}, stream) : nullptr;
  if (op.rows > 0) {
    visit_float(op.student.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      PairRows<T> rows = rows_of<T>(op, sums, weights, totals);
      rows.output = op.grad_student.as<T>();
      launch_rows(
          rows,
          plan_hold({op.rows, op.classes, op.student.dtype, stream.properties().has_clusters()}),
          stream);
    });
  }
  if (weights.reduction != Reduction::none) {
    token_totals(weights, true, op.loss, stream);
  } else if (op.rows > 0) {
    token_losses(weights, op.loss, stream);
  }
}

void backward_cuda(const Backward& op, cuda::Stream& stream) {
  require(op.row_stats.size == op.rows * kStats, "divergence: size of rowStats");
  if (op.rows == 0) return;
  auto* const sums = reinterpret_cast<PairSums*>(op.row_stats.as<double>());
  const TokenRows weights = weights_of(op, sums, stream);
  const bool of_weights = static_cast<bool>(op.grad_token_weight);
  const bool mean = weights.reduction == Reduction::mean;
  const TokenTotals* const totals = weights.divides() || (of_weights && mean)
                                        ? token_totals(weights, of_weights, {}, stream)
                                        : nullptr;
  if (of_weights) token_gradient(weights, totals, op.upstream, op.grad_token_weight, stream);
  if (!op.grad_student && !op.grad_teacher) return;
  const Plan how = plan(op.rows, op.classes);
  visit_float(op.student.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Gradients<T> g{rows_of<T>(op, sums, weights, totals), Numbers(op.upstream),
                         op.grad_student.as<T>(), op.grad_teacher.as<T>(), op.grad_student_ready};
    launch(stream, divergence_backward_kernel<T>, {how.blocks, kThreads}, g, how.warp_rows);
  });
}

}  // namespace surprisal::divergence
