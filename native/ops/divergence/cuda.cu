// Divergence of the rows of two matrices on CUDA; formulas in op.h and core/divergence_terms.h.
// Forward holds both rows in registers (cuda/row_hold.h): maxima and sums of exponentials, then the
// terms, then, where a mean or a sum is differentiated by the student, its gradient: 2 reads and a
// write of the matrix's bytes for forward and gradient together. Other gradients (of the teacher,
// of single rows' losses, of float16) are made in backward, 2 reads and a write each. Six to eight
// exponentials an element keep 16-bit logits under the speed of memory: about half of it is
// predicted.
#include <cmath>
#include <limits>
#include <string>

#include "cuda/launch.h"
#include "ops/divergence/device_rows.h"
#include "ops/divergence/plan.h"

namespace surprisal::divergence {
namespace {

using namespace cuda;

constexpr int64_t kSegment = 8192;  // rows of a block that adds them up: fixed, and so is every sum

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
  const double scale = upstream * m.weights.share(m.totals) * m.weights.token_weight.weight(row);
  const PairSums sums = load(m.weights.sums + row);
  const Ratio<C> ratio(sums, m.inverse);
  const C by = static_cast<C>(scale * m.inverse);
  T* const student = g.student ? g.student + row * m.columns : nullptr;
  T* const teacher = g.teacher ? g.teacher + row * m.columns : nullptr;
  const T* const beside = m.input[0] + row * m.columns + part.column;
  for (int slot = thread_index() % size; slot < part.slots(); slot += size) {
    C t[kPack<T>], s[kPack<T>], ds[kPack<T>], dt[kPack<T>];
    widen<T>(load_slot(part, slot), t);
    mask_slot(part, slot, PairRows<T>::kNone, t);
    load_beside(beside + slot * kPack<T>, part.whole(slot), part.begin, part.end, slot * kPack<T>,
                PairRows<T>::kNone, s);
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

// --- what the rows add up to ---------------------------------------------------------------------

__device__ double share_of(const RowWeights& w, int64_t n) {
  const double weight = w.token_weight.weight(n);
  if (weight != weight) report_fault(w.fault, n, 0, 0, 0);
  return weight == 0 ? 0 : weight * load(&w.sums[n].loss);
}

struct TotalsWork {
  RowWeights weights;
  bool losses;
  Totals* partial;  // (blocks)
  int64_t blocks;
  Totals* totals;
  NumbersOut loss;  // (1), may be absent
};
using TotalsTeam = BlockTeam<Totals, Totals>;

__device__ void add_totals(Totals& into, const Totals& from) {
  into.loss += from.loss;
  into.weight += from.weight;
}

__device__ void write_totals(const TotalsWork& work, const Totals& all) {
  store(work.totals, all);
  if (!work.loss) return;
  const bool mean = work.weights.reduction == Reduction::mean;
  const double empty = std::numeric_limits<double>::quiet_NaN();
  work.loss.set(0, !mean ? all.loss : all.weight == 0 ? empty : all.loss / all.weight);
}

__global__ void __launch_bounds__(kThreads) divergence_totals_kernel(TotalsWork work) {
  const RowWeights& w = work.weights;
  const int64_t last = (block_index() + 1) * kSegment, end = last < w.rows ? last : w.rows;
  Totals own{};
  for (int64_t n = block_index() * kSegment + thread_index(); n < end; n += kThreads) {
    if (work.losses) own.loss += share_of(w, n);
    own.weight += w.token_weight.weight(n);
  }
  TotalsTeam team(&shared<TeamMemory<Totals, Totals>>(), 1);
  team.finish(own, add_totals, [&](const Totals& all, bool leader) {
    if (leader)
      work.blocks > 1 ? store(work.partial + block_index(), all) : write_totals(work, all);
    return all;
  });
}

// The segments' sums, in their order within each thread.
__global__ void __launch_bounds__(kThreads) divergence_totals_merge_kernel(TotalsWork work) {
  Totals own{};
  for (int64_t b = thread_index(); b < work.blocks; b += kThreads)
    add_totals(own, load(work.partial + b));
  TotalsTeam team(&shared<TeamMemory<Totals, Totals>>(), 1);
  team.finish(own, add_totals, [&](const Totals& all, bool leader) {
    if (leader) write_totals(work, all);
    return all;
  });
}

__global__ void __launch_bounds__(kThreads)
    divergence_losses_kernel(RowWeights w, NumbersOut loss) {
  const int64_t n = block_index() * kThreads + thread_index();
  if (n < w.rows) loss.set(n, share_of(w, n));
}

__global__ void __launch_bounds__(kThreads)
    divergence_weights_kernel(RowWeights w, const Totals* totals, Numbers upstream,
                              NumbersOut out) {
  const int64_t n = block_index() * kThreads + thread_index();
  if (n >= w.rows) return;
  const bool mean = w.reduction == Reduction::mean;
  const double share = mean ? 1 / load(&totals->weight) : 1;
  const double slope = upstream[w.reduction == Reduction::none ? n : 0] * share;
  const double average = mean ? load(&totals->loss) * share : 0;
  const bool none = slope == 0 || (mean && load(&totals->weight) == 0);
  out.set(n, none ? 0 : slope * (load(&w.sums[n].loss) - average));
}

// --- launches ------------------------------------------------------------------------------------

void raise_nan_weight(const Fault& fault) {
  throw Error(Code::invalid_value,
              "divergence: expected tokenWeight to hold no NaN, got NaN at row " +
                  std::to_string(fault.row));
}

constexpr int64_t kStats = sizeof(PairSums) / sizeof(double);

Shape by_row(const RowWeights& w) { return {(w.rows + kThreads - 1) / kThreads, kThreads}; }

// Losses only where asked for, which is where weights that are NaN are reported.
const Totals* totals_of(const RowWeights& weights, bool losses, const NumbersOut& loss,
                        Stream& stream) {
  TotalsWork work{
      weights, losses, nullptr, (weights.rows + kSegment - 1) / kSegment, stream.scratch<Totals>(1),
      loss};
  if (work.blocks == 0) work.blocks = 1;
  if (work.blocks > 1) work.partial = stream.scratch<Totals>(work.blocks);
  const int64_t shared = sizeof(TeamMemory<Totals, Totals>);
  launch(stream, divergence_totals_kernel, {work.blocks, kThreads, shared}, work);
  if (work.blocks > 1) launch(stream, divergence_totals_merge_kernel, {1, kThreads, shared}, work);
  return work.totals;
}

template <class T>
PairRows<T> rows_of(const Problem& op, const RowWeights& weights, const Totals* totals) {
  return {{op.student.as<T>(), op.teacher.as<T>()},
          nullptr,
          op.rows,
          op.classes,
          weights,
          totals,
          1 / op.temperature,
          op.beta,
          static_cast<Kind>(op.kind)};
}

RowWeights weights_of(const Problem& op, PairSums* sums, Stream& stream) {
  return {op.token_weight, sums, op.rows, static_cast<Reduction>(op.reduction),
          stream.fault_site(raise_nan_weight)};
}

// What a mean's rows are divided by, where that is not their number.
bool divides(const RowWeights& w) { return w.reduction == Reduction::mean && w.token_weight; }

}  // namespace

void forward_cuda(const Forward& op, cuda::Stream& stream) {
  require(!op.row_stats || op.row_stats.size == op.rows * kStats, "divergence: size of rowStats");
  auto* sums = op.row_stats ? reinterpret_cast<PairSums*>(op.row_stats.as<double>())
                            : stream.scratch<PairSums>(op.rows);
  const RowWeights weights = weights_of(op, sums, stream);
  const Totals* const totals =
      op.grad_student && divides(weights) ? totals_of(weights, false, {}, stream) : nullptr;
  if (op.rows > 0) {
    visit_float(op.student.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      PairRows<T> rows = rows_of<T>(op, weights, totals);
      rows.output = op.grad_student.as<T>();
      launch_rows(
          rows,
          plan_hold({op.rows, op.classes, op.student.dtype, stream.properties().has_clusters()}),
          stream);
    });
  }
  if (weights.reduction != Reduction::none) {
    totals_of(weights, true, op.loss, stream);
  } else if (op.rows > 0) {
    launch(stream, divergence_losses_kernel, by_row(weights), weights, NumbersOut(op.loss));
  }
}

void backward_cuda(const Backward& op, cuda::Stream& stream) {
  require(op.row_stats.size == op.rows * kStats, "divergence: size of rowStats");
  if (op.rows == 0) return;
  const RowWeights weights =
      weights_of(op, reinterpret_cast<PairSums*>(op.row_stats.as<double>()), stream);
  const bool of_weights = static_cast<bool>(op.grad_token_weight);
  const bool mean = weights.reduction == Reduction::mean;
  const Totals* const totals = divides(weights) || (of_weights && mean)
                                   ? totals_of(weights, of_weights, {}, stream)
                                   : nullptr;
  if (of_weights)
    launch(stream, divergence_weights_kernel, by_row(weights), weights, totals,
           Numbers(op.upstream), NumbersOut(op.grad_token_weight));
  if (!op.grad_student && !op.grad_teacher) return;
  const Plan how = plan(op.rows, op.classes);
  visit_float(op.student.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Gradients<T> g{rows_of<T>(op, weights, totals), Numbers(op.upstream),
                         op.grad_student.as<T>(), op.grad_teacher.as<T>(), op.grad_student_ready};
    launch(stream, divergence_backward_kernel<T>, {how.blocks, kThreads}, g, how.warp_rows);
  });
}

}  // namespace surprisal::divergence
