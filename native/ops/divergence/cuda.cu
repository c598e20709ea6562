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
#include "cuda/row_team.h"
#include "cuda/rows.h"
#include "ops/divergence/op.h"
#include "ops/divergence/plan.h"

namespace surprisal::divergence {
namespace {

using namespace cuda;

#include "core/divergence_terms.h"

template <class C>
struct ScalarMath {
  static constexpr int kSeries = sizeof(C) == 8 ? 15 : 8;
  static __device__ C constant(double x) { return static_cast<C>(x); }
  static __device__ C select(bool mask, C a, C b) { return mask ? a : b; }
  static __device__ C exp(C x) { return std::exp(x); }
  static __device__ C log1p(C x) {
    if constexpr (sizeof(C) == 4) {
      return std::log1p(x);
    } else {
      // CUDA's own is a call that spills. What 1 + x rounded away is put back.
      const double u = 1 + x;
      return std::log(u) + (x - (u - 1)) * static_cast<double>(1 / static_cast<float>(u));
    }
  }
  static __device__ bool near(C x) { return std::fabs(x) < C(0.5); }
  static __device__ bool is_zero(C x) { return x == 0; }
  static __device__ bool not_less(C a, C b) { return a >= b; }
};

template <class T>
struct Rows {
  const T* student;  // (N, V)
  const T* teacher;  // (N, V)
  PairSums* sums;    // (N)
  int64_t rows, classes;
  double inverse, beta;  // 1/T
  Kind kind;
};

// --- what a thread gathers -----------------------------------------------------------------------

// Largest logit and sum of e^((z - max)/T), of one matrix.
template <class C>
struct Online {
  C max, sum;

  static __device__ Online none() { return {-std::numeric_limits<C>::infinity(), 0}; }
  template <int N>
  __device__ void add(const C (&z)[N], C inverse) {
    C top = max;
#pragma unroll
    for (int j = 0; j < N; ++j) top = z[j] > top || z[j] != z[j] ? z[j] : top;
    if (top == -std::numeric_limits<C>::infinity()) return;
    sum *= std::exp((max - top) * inverse);
#pragma unroll
    for (int j = 0; j < N; ++j) sum += std::exp((z[j] - top) * inverse);
    max = top;
  }
  // The same bits for (a, b) as for (b, a): both sums are scaled before they are added.
  __device__ void merge(const Online& other, C inverse) {
    const C top = other.max > max || other.max != other.max ? other.max : max;
    if (top == -std::numeric_limits<C>::infinity()) return;
    const C own = sum == 0 ? C(0) : times(sum, std::exp((max - top) * inverse));
    const C its = other.sum == 0 ? C(0) : times(other.sum, std::exp((other.max - top) * inverse));
    sum = own + its;
    max = top;
  }

 private:
  static __device__ C times(C a, C b) {
    if constexpr (sizeof(C) == 4) {
      return mul_exact(a, b);
    } else {
      return a * b;  // nothing is added in the same expression
    }
  }
};

template <class C>
struct Softmaxes {
  Online<C> student, teacher;
};
template <class C>
struct Totals {
  C first, second;
};

// --- a row ---------------------------------------------------------------------------------------

// Calls body(slot, teacher's, student's logits) for this thread's slots of columns: what is added
// up goes by these. What is not of the row is -inf.
template <class T, class F>
__device__ void each_of_columns(const Rows<T>& m, const RowPart<T>& part, int64_t row, int rank,
                                int size, F body) {
  using C = accumulator_t<T>;
  constexpr C kNone = -std::numeric_limits<C>::infinity();
  const RowPart<T> columns = part.columns();
  const int64_t all = m.rows * m.classes;
  for (int slot = rank; slot < columns.slots(); slot += size) {
    const auto read = [&](const T* from, C(&to)[kPack<T>]) {
      const int64_t at = row * m.classes + slot * kPack<T>;
      RowPart<T> own = columns;
      own.data = from + row * m.classes;
      widen<T>(columns.whole(slot) ? load_anywhere(from, all, at) : load_elements(own, slot), to);
      mask_slot(columns, slot, kNone, to);
    };
    C t[kPack<T>], s[kPack<T>];
    read(m.teacher, t);
    read(m.student, s);
    body(t, s);
  }
}

// The same of the slots as the teacher's row lies: what is made of each class alone goes by these.
template <class T, class F>
__device__ void each_slot(const Rows<T>& m, const RowPart<T>& part, int64_t row, int rank, int size,
                          F body) {
  using C = accumulator_t<T>;
  constexpr C kNone = -std::numeric_limits<C>::infinity();
  const T* student = m.student + row * m.classes + part.column;
  for (int slot = rank; slot < part.slots(); slot += size) {
    C t[kPack<T>], s[kPack<T>];
    widen<T>(load_slot(part, slot), t);
    mask_slot(part, slot, kNone, t);
    load_beside(student + slot * kPack<T>, part.whole(slot), part.begin, part.end, slot * kPack<T>,
                kNone, s);
    body(slot, t, s);
  }
}

// p, q and d of one class from the row's sums.
template <class C>
struct Ratio {
  C scale, teacher_max, teacher_log, student_max, student_log, shift;

  __device__ Ratio(const PairSums& row, double inverse)
      : scale(static_cast<C>(inverse)),
        teacher_max(static_cast<C>(row.teacher_max)),
        teacher_log(static_cast<C>(row.teacher_log)),
        student_max(static_cast<C>(row.student_max)),
        student_log(static_cast<C>(row.student_log)),
        shift(static_cast<C>((row.teacher_max - row.student_max) * inverse +
                             (row.teacher_log - row.student_log))) {}
  __device__ Pair<C> at(C t, C s) const {
    return {std::exp((t - teacher_max) * scale - teacher_log),
            std::exp((s - student_max) * scale - student_log), (t - s) * scale - shift};
  }
};

template <class T, class SumTeam, class TermTeam>
__device__ void forward_row(const Rows<T>& m, int64_t row, bool exists, SumTeam& sum_team,
                            TermTeam& term_team) {
  using C = accumulator_t<T>;
  const C inverse = static_cast<C>(m.inverse);
  RowPart<T> part;
  if (exists) part = row_part(m.teacher, m.rows, m.classes, row);
  const int rank = sum_team.index(), size = sum_team.size();
  Softmaxes<C> own{Online<C>::none(), Online<C>::none()};
  each_of_columns(m, part, row, rank, size, [&](const C(&t)[kPack<T>], const C(&s)[kPack<T>]) {
    own.teacher.add(t, inverse);
    own.student.add(s, inverse);
  });
  PairSums sums = sum_team.finish(
      own,
      [&](Softmaxes<C>& into, const Softmaxes<C>& from) {
        into.student.merge(from.student, inverse);
        into.teacher.merge(from.teacher, inverse);
      },
      [&](const Softmaxes<C>& all, bool) {
        PairSums out{};
        out.student_max = all.student.max;
        out.student_log = std::log(static_cast<double>(all.student.sum));
        out.teacher_max = all.teacher.max;
        out.teacher_log = std::log(static_cast<double>(all.teacher.sum));
        return out;
      });
  const Ratio<C> ratio(sums, m.inverse);
  Totals<C> total{};
  each_of_columns(m, part, row, rank, size, [&](const C(&t)[kPack<T>], const C(&s)[kPack<T>]) {
#pragma unroll
    for (int j = 0; j < kPack<T>; ++j) {
      C first = 0, second = 0;
      Terms<C, ScalarMath<C>>::value(m.kind, m.beta, ratio.at(t[j], s[j]), first, second);
      total.first += first;
      total.second += second;
    }
  });
  term_team.finish(
      total,
      [](Totals<C>& into, const Totals<C>& from) {
        into.first += from.first;
        into.second += from.second;
      },
      [&](const Totals<C>& all, bool leader) {
        sums.first = all.first;
        sums.second = all.second;
        sums.loss = m.kind == Kind::jensen_shannon
                        ? m.beta * sums.first + (1 - m.beta) * sums.second
                        : sums.first;
        if (leader && exists) store(m.sums + row, sums);
        return sums.loss;
      });
}

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
  View token_weight;
  const PairSums* sums;
  int64_t rows;
  Reduction reduction;
  FaultSite fault;
};

__device__ double number(const View& view, int64_t i) {
  switch (view.dtype) {
    case DType::f64:
      return load(static_cast<const double*>(view.data) + i);
    case DType::f32:
      return load(static_cast<const float*>(view.data) + i);
    case DType::f16:
      return to_float(load(static_cast<const Float16*>(view.data) + i));
    default:
      return to_float(load(static_cast<const BFloat16*>(view.data) + i));
  }
}
__device__ void put(const View& view, int64_t i, double x) {
  switch (view.dtype) {
    case DType::f64:
      return store(static_cast<double*>(view.data) + i, x);
    case DType::f32:
      return store(static_cast<float*>(view.data) + i, static_cast<float>(x));
    case DType::f16:
      return store(static_cast<Float16*>(view.data) + i, to_float16(static_cast<float>(x)));
    default:
      return store(static_cast<BFloat16*>(view.data) + i, to_bfloat16(static_cast<float>(x)));
  }
}
__device__ double weight_of(const RowWeights& w, int64_t n) {
  return w.token_weight.data ? number(w.token_weight, n) : 1;
}
__device__ double share_of(const RowWeights& w, int64_t n) {
  const double weight = weight_of(w, n);
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
    const double weight = weight_of(w, n);
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

__global__ void __launch_bounds__(kThreads) divergence_reduce_kernel(RowWeights w, View loss) {
  SumsTeam team(&shared<TeamMemory<Sums, Sums>>(), 1);
  const Sums sums = sums_of(w, team);
  if (w.reduction == Reduction::none) {
    for (int64_t n = thread_index(); n < w.rows; n += kThreads) put(loss, n, share_of(w, n));
  } else if (thread_index() == 0) {
    const bool mean = w.reduction == Reduction::mean;
    const double empty = std::numeric_limits<double>::quiet_NaN();
    put(loss, 0, !mean ? sums.loss : sums.weight == 0 ? empty : sums.loss / sums.weight);
  }
}

// The scale of each row's gradient, and the gradient of the token weights.
__global__ void __launch_bounds__(kThreads, 2)
    divergence_scale_kernel(RowWeights w, View upstream, double* scale, View grad_weight) {
  SumsTeam team(&shared<TeamMemory<Sums, Sums>>(), 1);
  const Sums sums = sums_of(w, team);
  const bool mean = w.reduction == Reduction::mean;
  const double inverse = !mean ? 1 : sums.weight == 0 ? 0 : 1 / sums.weight;
  const double average = mean ? sums.loss * inverse : 0;
  for (int64_t n = thread_index(); n < w.rows; n += kThreads) {
    const double slope = number(upstream, w.reduction == Reduction::none ? n : 0) * inverse;
    store(scale + n, slope * weight_of(w, n));
    if (grad_weight.data)
      put(grad_weight, n, slope == 0 ? 0 : slope * (load(&w.sums[n].loss) - average));
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
  launch(stream, divergence_reduce_kernel, kOneBlock, weights_of(op, sums, stream), op.loss);
}

void backward_cuda(const Backward& op, cuda::Stream& stream) {
  require(op.row_stats.size == op.rows * kStats, "divergence: size of rowStats");
  auto* sums = reinterpret_cast<PairSums*>(op.row_stats.as<double>());
  double* scale = stream.scratch<double>(op.rows);
  launch(stream, divergence_scale_kernel, kOneBlock, weights_of(op, sums, stream), op.upstream,
         scale, op.grad_token_weight);
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
