// Divergence of the rows of two matrices on CUDA; formulas in op.h and core/divergence_terms.h.
// A warp (short rows) or a block has a row and goes over it in 16-byte slots: once for maxima and
// sums of exponentials, once for the terms, and in backward once for both gradients. Bytes an
// element, of width w: forward 2w from memory (the second look is served by L2: 264 blocks hold at
// most 264 pairs of rows), backward 2w read and w written per gradient. Four to six exponentials an
// element keep it under the speed of memory for 16-bit logits: about 60 % of it is predicted.
// Rows in registers or shared memory, as cross-entropy has them, would save only the L2 traffic.
#include <cmath>
#include <limits>
#include <string>

#include "cuda/launch.h"
#include "cuda/numbers.h"
#include "ops/divergence/device_rows.h"
#include "ops/divergence/plan.h"

namespace surprisal::divergence {
namespace {

using namespace cuda;

// --- kernels -------------------------------------------------------------------------------------

template <class T>
__global__ void __launch_bounds__(kThreads, 2) divergence_forward_warp_kernel(Rows<T> m) {
  LaneTeam<kWarp> team;
  const int64_t row = block_index() * (kThreads / kWarp) + warp_index();
  forward_row(m, row, row < m.rows, team, team);
}

// Long rows: eight warps, and a warp's worth of loads in flight from each.
template <class C>
struct BlockMemory {
  TeamMemory<Softmaxes<C>, PairSums> sums;
  TeamMemory<Totals<C>, double> terms;
};
template <class T>
__global__ void __launch_bounds__(kThreads, 2) divergence_forward_block_kernel(Rows<T> m) {
  using C = accumulator_t<T>;
  auto& memory = shared<BlockMemory<C>>();
  BlockTeam<Softmaxes<C>, PairSums> sum_team(&memory.sums, 1);
  BlockTeam<Totals<C>, double> term_team(&memory.terms, 1);
  forward_row(m, block_index(), true, sum_team, term_team);
}

template <class T>
struct Gradients {
  Rows<T> m;
  const double* scale;  // (N): upstream x token weight / denominator
  T* student;           // (N, V) or null
  T* teacher;           // (N, V) or null
};

template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    divergence_backward_kernel(Gradients<T> g, bool warp_rows) {
  using C = accumulator_t<T>;
  const int size = warp_rows ? kWarp : kThreads;
  const int64_t row = block_index() * (kThreads / size) + thread_index() / size;
  if (row >= g.m.rows) return;
  const RowPart<T> part = row_part(g.m.teacher, g.m.rows, g.m.classes, row);
  const double scale = load(g.scale + row);
  const PairSums sums = load(g.m.sums + row);
  const Ratio<C> ratio(sums, g.m.inverse);
  const C by = static_cast<C>(scale * g.m.inverse);
  T* const student = g.student ? g.student + row * g.m.classes : nullptr;
  T* const teacher = g.teacher ? g.teacher + row * g.m.classes : nullptr;
  each_slot(g.m, part, row, thread_index() % size, size,
            [&](int slot, const C(&t)[kPack<T>], const C(&s)[kPack<T>]) {
              C ds[kPack<T>], dt[kPack<T>];
#pragma unroll
              for (int j = 0; j < kPack<T>; ++j) {
                Terms<C, ScalarMath<C>>::slope(g.m.kind, g.m.beta, sums, ratio.at(t[j], s[j]),
                                               ds[j], dt[j]);
                // A row of weight 0 gets zeros, whatever it holds.
                ds[j] = scale == 0 ? C(0) : ds[j] * by;
                dt[j] = scale == 0 ? C(0) : dt[j] * by;
              }
              if (student) store_slot(student, part, slot, ds);
              if (teacher) store_slot(teacher, part, slot, dt);
            });
}

// --- what the rows add up to ---------------------------------------------------------------------

struct RowWeights {
  Numbers token_weight;
  const PairSums* sums;
  int64_t rows;
  Reduction reduction;
  FaultSite fault;
};

__device__ double share_of(const RowWeights& w, int64_t n) {
  const double weight = w.token_weight.weight(n);
  return weight == 0 ? 0 : weight * load(&w.sums[n].loss);
}

struct Sums {
  double loss, weight;
};
using SumsTeam = BlockTeam<Sums, Sums>;

// The sums of weighted losses and of weights, by one block: a thread takes every 256th row, so the
// order depends on the number of rows alone.
__device__ Sums sums_of(const RowWeights& w, SumsTeam& team) {
  Sums own{};
  for (int64_t n = thread_index(); n < w.rows; n += kThreads) {
    const double weight = w.token_weight.weight(n);
    if (weight != weight) report_fault(w.fault, n, 0, 0, 0);
    own.loss += share_of(w, n);
    own.weight += weight;
  }
  return team.finish(
      own,
      [](Sums& into, const Sums& from) {
        into.loss += from.loss;
        into.weight += from.weight;
      },
      [](const Sums& all, bool) { return all; });
}

__global__ void __launch_bounds__(kThreads)
    divergence_reduce_kernel(RowWeights w, NumbersOut loss) {
  SumsTeam team(&shared<TeamMemory<Sums, Sums>>(), 1);
  const Sums sums = sums_of(w, team);
  if (w.reduction == Reduction::none) {
    for (int64_t n = thread_index(); n < w.rows; n += kThreads) loss.set(n, share_of(w, n));
  } else if (thread_index() == 0) {
    const bool mean = w.reduction == Reduction::mean;
    const double empty = std::numeric_limits<double>::quiet_NaN();
    loss.set(0, !mean ? sums.loss : sums.weight == 0 ? empty : sums.loss / sums.weight);
  }
}

// The scale of each row's gradient, and the gradient of the token weights.
__global__ void __launch_bounds__(kThreads, 2)
    divergence_scale_kernel(RowWeights w, Numbers upstream, double* scale, NumbersOut grad_weight) {
  SumsTeam team(&shared<TeamMemory<Sums, Sums>>(), 1);
  const Sums sums = sums_of(w, team);
  const bool mean = w.reduction == Reduction::mean;
  const double inverse = !mean ? 1 : sums.weight == 0 ? 0 : 1 / sums.weight;
  const double average = mean ? sums.loss * inverse : 0;
  for (int64_t n = thread_index(); n < w.rows; n += kThreads) {
    const double slope = upstream[w.reduction == Reduction::none ? n : 0] * inverse;
    store(scale + n, slope * w.token_weight.weight(n));
    if (grad_weight) grad_weight.set(n, slope == 0 ? 0 : slope * (load(&w.sums[n].loss) - average));
  }
}

// --- launches ------------------------------------------------------------------------------------

void raise_nan_weight(const Fault& fault) {
  throw Error(Code::invalid_value,
              "divergence: expected tokenWeight to hold no NaN, got NaN at row " +
                  std::to_string(fault.row));
}

template <class T>
Rows<T> rows_of(const Problem& op, PairSums* sums) {
  return {op.student.as<T>(), op.teacher.as<T>(), sums,    op.rows,
          op.classes,         1 / op.temperature, op.beta, static_cast<Kind>(op.kind)};
}

RowWeights weights_of(const Problem& op, const PairSums* sums, Stream& stream) {
  return {op.token_weight, sums, op.rows, static_cast<Reduction>(op.reduction),
          stream.fault_site(raise_nan_weight)};
}

constexpr int64_t kStats = sizeof(PairSums) / sizeof(double);
constexpr Shape kOneBlock{1, kThreads, sizeof(TeamMemory<Sums, Sums>), 1};

}  // namespace

void forward_cuda(const Forward& op, cuda::Stream& stream) {
  require(!op.row_stats || op.row_stats.size == op.rows * kStats, "divergence: size of rowStats");
  auto* sums = op.row_stats ? reinterpret_cast<PairSums*>(op.row_stats.as<double>())
                            : stream.scratch<PairSums>(op.rows);
  const Plan how = plan(op.rows, op.classes);
  visit_float(op.student.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Rows<T> m = rows_of<T>(op, sums);
    if (how.warp_rows) {
      launch(stream, divergence_forward_warp_kernel<T>, {how.blocks, kThreads}, m);
    } else {
      const int64_t bytes = sizeof(BlockMemory<accumulator_t<T>>);
      launch(stream, divergence_forward_block_kernel<T>, {how.blocks, kThreads, bytes}, m);
    }
  });
  launch(stream, divergence_reduce_kernel, kOneBlock, weights_of(op, sums, stream),
         NumbersOut(op.loss));
}

void backward_cuda(const Backward& op, cuda::Stream& stream) {
  require(op.row_stats.size == op.rows * kStats, "divergence: size of rowStats");
  auto* sums = reinterpret_cast<PairSums*>(op.row_stats.as<double>());
  double* scale = stream.scratch<double>(op.rows);
  launch(stream, divergence_scale_kernel, kOneBlock, weights_of(op, sums, stream),
         Numbers(op.upstream), scale, NumbersOut(op.grad_token_weight));
  if (!op.grad_student && !op.grad_teacher) return;
  const Plan how = plan(op.rows, op.classes);
  visit_float(op.student.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Gradients<T> g{rows_of<T>(op, sums), scale, op.grad_student.as<T>(),
                         op.grad_teacher.as<T>()};
    launch(stream, divergence_backward_kernel<T>, {how.blocks, kThreads}, g, how.warp_rows);
  });
}

}  // namespace surprisal::divergence
