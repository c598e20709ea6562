// Sinkhorn distillation on CUDA; formulas in op.h. For each problem of B rows of V classes:
//   rows that count, largest logit and sum of each: two reads of 2 B V elements
//   W by tiles of 64 x 64 pairs and strips of classes: B^2 V times two instructions
//   K, the iterations and the gradient by W: one block, K in its shared memory where that has the
//   room (B up to 164 on sm_90), 6 T passes over B^2 float64
//   the gradient by tiles of 64 rows x 64 classes: B^2 V times four instructions, then p (dp - <p,
//   dp>) by a pass over B V; dp lies in the gradient's own memory, for 16-bit ones in scratch
// Problems, or rows of the gradient of one, are in work as many at a time as 256 MiB of scratch
// hold. Distributions are never stored. At B = 64, V = 32k that is about 1.3 x 10^8 pairs a pass,
// 10 us of an H100's FP32 units; the iterations, 100 passes that wait for each other, are longer.
#include <limits>

#include "cuda/launch.h"
#include "cuda/numbers.h"
#include "ops/sinkd/check.h"
#include "ops/sinkd/device_pairs.h"
#include "ops/sinkd/device_transport.h"

namespace surprisal::sinkd {
namespace {

// The widest 2/lambda whose powers float64 holds; see cpu/matrix_scaling.h.
constexpr double kPowerRange = 330;

// A warp a problem.
__global__ void __launch_bounds__(kWarp)
    sinkd_kept_kernel(const uint8_t* mask, int64_t rows, int32_t* kept, int32_t* count) {
  const int64_t problem = block_index();
  int32_t found = 0;
  for (int64_t first = 0; first < rows; first += kWarp) {
    const int64_t i = first + lane_index();
    const bool counts = i < rows && (!mask || load(mask + problem * rows + i) != 0);
    uint32_t here = ballot(counts);
    for (int lane = 0; lane < kWarp; ++lane) {
      if ((here >> lane & 1) == 0) continue;
      if (lane_index() == lane)
        store(kept + problem * rows + found, static_cast<int32_t>(first + lane));
      ++found;
    }
  }
  if (lane_index() == 0) store(count + problem, found);
}

template <class T>
__device__ inline void largest_and_sum(const T* z, int64_t classes, double inverse, double* max,
                                       double* log) {
  using Real = accumulator_t<T>;
  double* const memory = &shared<double>();
  Real top = -std::numeric_limits<Real>::infinity(), sum = 0;
  for (int64_t c = thread_index(); c < classes; c += kThreads) {
    const Real x = widened(load(z + c));
    top = x > top || x != x ? x : top;
  }
  top = static_cast<Real>(max_over_block<double>(top, memory));
  for (int64_t c = thread_index(); c < classes; c += kThreads)
    sum += std::exp((widened(load(z + c)) - top) * static_cast<Real>(inverse));
  const double all = sum_over_block<double>(sum, memory);
  if (thread_index() > 0) return;
  store(max, static_cast<double>(top));
  store(log, std::log(all));
}

// A block a row and side.
template <class T>
__global__ void __launch_bounds__(kThreads) sinkd_stats_kernel(Rows rows) {
  const int64_t problem = block_index() / 2 / rows.rows, i = block_index() / 2 % rows.rows;
  if (i >= load(rows.count + problem)) return;
  const int64_t row = problem * rows.rows + load(rows.kept + problem * rows.rows + i);
  const bool student = block_index() % 2 == 0;
  RowStats* const s = rows.stats + row;
  largest_and_sum(static_cast<const T*>(student ? rows.student : rows.teacher) + row * rows.classes,
                  rows.classes, rows.inverse, student ? &s->student_max : &s->teacher_max,
                  student ? &s->student_log : &s->teacher_log);
}

__global__ void __launch_bounds__(kThreads)
    sinkd_losses_kernel(const double* losses, int64_t problems, bool reduced, bool averaged,
                        NumbersOut out) {
  double own = 0;
  for (int64_t k = thread_index(); k < problems; k += kThreads) {
    if (!reduced) out.set(k, load(losses + k));
    own += load(losses + k);
  }
  const double all = sum_over_block(own, &shared<double>());
  if (reduced && thread_index() == 0)
    out.set(0, averaged ? all / static_cast<double>(problems) : all);
}

// --- launches ------------------------------------------------------------------------------------

constexpr int64_t kGathered = kBlockWarps * int64_t{sizeof(double)};

Rows rows_of(const Problem& op, const View& stats, Stream& stream) {
  require(op.rows <= INT32_MAX, "sinkd: more than 2^31 rows");
  auto* const kept = stream.scratch<int32_t>(op.problems * op.rows);
  auto* const count = stream.scratch<int32_t>(op.problems);
  launch(stream, sinkd_kept_kernel, {op.problems, kWarp}, static_cast<const uint8_t*>(op.mask.data),
         op.rows, kept, count);
  return {op.student.data, op.teacher.data, kept,       count,
          stats_of(stats), op.rows,         op.classes, 1 / op.temperature};
}

Plan plan_of(const Problem& op, Stream& stream) {
  Sizes s;
  s.problems = op.problems;
  s.rows = op.rows;
  s.classes = op.classes;
  s.iterations = op.iterations;
  s.element = size_of(op.student.dtype);
  s.shared = stream.properties().shared;
  if (op.workspace > 0) s.scratch = op.workspace;
  return plan(s);
}

// What problems in work, one part after the other, have in common.
struct LossWork {
  void* partial;  // (problems, strips, B, B) of accumulators
  double* w;      // (problems, B, B)
};

// W of some problems.
template <class T>
void measure(const Rows& rows, const Plan& how, const LossWork& to, int64_t problems,
             Stream& stream) {
  using Real = accumulator_t<T>;
  const int64_t square = rows.rows * rows.rows, tiles = ceil_div(rows.rows, kTile);
  launch(stream, sinkd_stats_kernel<T>, {problems * rows.rows * 2, kThreads, kGathered}, rows);
  launch(stream, sinkd_measure_kernel<T>,
         {problems * how.strips * tiles * tiles, kThreads, int64_t(sizeof(PairMemory<Real>))},
         MeasureWork{rows, how, to.partial});
  launch(stream, sinkd_strips_kernel<Real>, {problems * ceil_div(square, kThreads), kThreads},
         static_cast<const Real*>(to.partial), rows.count, square, how.strips, to.w);
}

template <class T>
void solve(const Forward& op, const Rows& rows, const Plan& how, double* losses, Stream& stream) {
  const int64_t square = op.rows * op.rows;
  const LossWork to{stream.scratch<accumulator_t<T>>(how.problems * how.strips * square),
                    stream.scratch<double>(how.problems * square)};
  TransportWork work{};
  work.w = to.w;
  if (!how.in_shared) work.k = stream.scratch<double>(how.problems * square);
  work.vectors = stream.scratch<double>(how.problems * vectors_of(op.rows, op.iterations));
  work.iterations = op.iterations;
  work.lambda = op.lambda;
  work.weight = op.weight;
  work.detached = op.detached;
  work.powers = 2 / op.lambda <= kPowerRange;
  const int64_t shared = kGathered + (how.in_shared ? square * 8 : 0);
  for (int64_t first = 0; first < op.problems; first += how.problems) {
    const int64_t count = std::min(how.problems, op.problems - first);
    work.rows = rows.from(first, sizeof(T));
    work.slopes = op.slopes ? op.slopes.as<double>() + first * square : nullptr;
    work.loss = losses + first;
    measure<T>(work.rows, how, to, count, stream);
    launch(stream, sinkd_transport_kernel, {count, kTransportThreads, shared}, work);
  }
}

template <class T>
void differentiate(const Backward& op, const Rows& rows, const Plan& how, Stream& stream) {
  using Real = accumulator_t<T>;
  constexpr bool kInPlace = std::is_same_v<T, Real>;
  const int64_t columns = ceil_div(op.classes, kTile), all = how.differentiated * how.taken;
  auto* const dots = stream.scratch<double>(all * columns);
  void* const dp = kInPlace ? nullptr : stream.scratch<Real>(all * op.classes);
  FinishWork work{};
  work.upstream = op.upstream;
  work.reduced = reduced(op);
  work.factor = op.weight / (averaged(op) ? static_cast<double>(op.problems) : 1);
  for (int64_t k = 0; k < op.problems; k += how.differentiated) {
    const int64_t count = std::min(how.differentiated, op.problems - k);
    work.problem = k;
    work.grad = op.grad_student.as<T>() + k * op.rows * op.classes;
    work.of = {rows.from(k, sizeof(T)),
               op.slopes.as<double>() + k * op.rows * op.rows,
               kInPlace ? work.grad : dp,
               dots,
               0,
               how.taken};
    for (; work.of.first < op.rows; work.of.first += how.taken) {
      launch(stream, sinkd_gradient_kernel<T>,
             {count * ceil_div(how.taken, kTile) * columns, kThreads,
              int64_t(sizeof(PairMemory<Real>))},
             work.of);
      launch(stream, sinkd_finish_kernel<T>, {count * how.taken, kThreads, kGathered}, work);
    }
  }
}

}  // namespace

void forward_cuda(const Forward& op, Stream& stream) {
  check_forward(op);
  auto* const losses = stream.scratch<double>(op.problems);
  if (op.problems > 0) {
    const Rows rows = rows_of(op, op.row_stats, stream);
    visit_float(op.student.dtype, [&](auto tag) {
      solve<typename decltype(tag)::type>(op, rows, plan_of(op, stream), losses, stream);
    });
  }
  launch(stream, sinkd_losses_kernel, {1, kThreads, kGathered}, static_cast<const double*>(losses),
         op.problems, reduced(op), averaged(op), NumbersOut(op.loss));
}

void backward_cuda(const Backward& op, Stream& stream) {
  check_backward(op);
  const int64_t bytes = op.grad_student.size * size_of(op.grad_student.dtype);
  if (op.mask) stream.fill_bytes(op.grad_student.data, 0, bytes);
  if (op.grad_student.size == 0) return;
  const Rows rows = rows_of(op, op.row_stats, stream);
  visit_float(op.student.dtype, [&](auto tag) {
    differentiate<typename decltype(tag)::type>(op, rows, plan_of(op, stream), stream);
  });
}

}  // namespace surprisal::sinkd
