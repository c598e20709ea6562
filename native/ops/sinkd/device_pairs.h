// Tiles of pairs of rows: W, and its gradient by the student's rows. A block of 16 x 16 threads has
// 64 x 64 results, a thread 4 x 4 that lie 16 apart; probabilities are made from the logits on the
// way into shared memory, where what 64 rows of each side are divided by lies, too.
#pragma once
#include "ops/sinkd/device.h"

namespace surprisal::sinkd {

constexpr int kSide = 16, kEach = kTile / kSide;
constexpr int kPitch = kTile + 1;  // against bank conflicts
static_assert(kSide * kSide == kThreads, "a thread has kEach x kEach");

template <class Real>
struct PairMemory {
  RowShare<Real> student[kTile], teacher[kTile];
  Real left[kDepth * kPitch], right[kDepth * kPitch];
};

struct MeasureWork {
  Rows rows;
  Plan plan;
  void* partial;  // (problems, strips, B, B) of accumulators
};

// Of kTile rows from `first` on.
template <class T>
__device__ inline void fill_shares(const Rows& rows, int64_t problem, int first, bool student,
                                   RowShare<accumulator_t<T>>* to) {
  for (int r = thread_index(); r < kTile; r += kThreads)
    store(to + r, share_of<T>(rows, problem, first + r, student));
}
// `to` (kDepth classes, kTile rows).
template <class T>
__device__ inline void fill_classes(const RowShare<accumulator_t<T>>* shares, double inverse,
                                    int64_t column, int64_t end, accumulator_t<T>* to) {
  using Real = accumulator_t<T>;
  for (int e = thread_index(); e < kTile * kDepth; e += kThreads) {
    const int c = e % kDepth, r = e / kDepth;
    const Real p = probability<T>(load(shares + r), static_cast<Real>(inverse), column + c, end);
    store(to + c * kPitch + r, p);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 2) sinkd_measure_kernel(MeasureWork work) {
  using Real = accumulator_t<T>;
  const Rows& rows = work.rows;
  const int64_t tiles = ceil_div(rows.rows, kTile), unit = block_index() / (tiles * tiles);
  const int64_t problem = unit / work.plan.strips, strip = unit % work.plan.strips;
  const int i0 = static_cast<int>(block_index() / tiles % tiles) * kTile;
  const int j0 = static_cast<int>(block_index() % tiles) * kTile;
  const int count = load(rows.count + problem);
  if (i0 >= count || j0 >= count) return;
  auto& memory = shared<PairMemory<Real>>();
  const int y = thread_index() / kSide, x = thread_index() % kSide;
  Real sum[kEach][kEach] = {};
  const int64_t begin = strip * work.plan.strip, last = begin + work.plan.strip;
  const int64_t end = last < rows.classes ? last : rows.classes;
  fill_shares<T>(rows, problem, i0, true, memory.student);
  fill_shares<T>(rows, problem, j0, false, memory.teacher);
  sync_threads();  // the shares are there
  for (int64_t column = begin; column < end; column += kDepth) {
    fill_classes<T>(memory.student, rows.inverse, column, end, memory.left);
    fill_classes<T>(memory.teacher, rows.inverse, column, end, memory.right);
    sync_threads();  // the tiles are there
    const int depth = end - column < kDepth ? static_cast<int>(end - column) : kDepth;
    for (int c = 0; c < depth; ++c) {
      Real p[kEach], q[kEach];
#pragma unroll
      for (int e = 0; e < kEach; ++e) {
        p[e] = load(memory.left + c * kPitch + y + kSide * e);
        q[e] = load(memory.right + c * kPitch + x + kSide * e);
      }
#pragma unroll
      for (int a = 0; a < kEach; ++a)
#pragma unroll
        for (int b = 0; b < kEach; ++b) sum[a][b] += std::fabs(p[a] - q[b]);
    }
    sync_threads();  // they are read
  }
  Real* const to = static_cast<Real*>(work.partial) + unit * rows.rows * rows.rows;
#pragma unroll
  for (int a = 0; a < kEach; ++a)
#pragma unroll
    for (int b = 0; b < kEach; ++b) {
      const int i = i0 + y + kSide * a, j = j0 + x + kSide * b;
      if (i < count && j < count) store(to + int64_t{i} * count + j, sum[a][b]);
    }
}

// The strips' sums in their order. w (problems, B, B), of which the first count x count are used.
template <class Real>
__global__ void __launch_bounds__(kThreads)
    sinkd_strips_kernel(const Real* partial, const int32_t* counts, int64_t square, int64_t strips,
                        double* w) {
  const int64_t blocks = ceil_div(square, kThreads), problem = block_index() / blocks;
  const int64_t e = block_index() % blocks * kThreads + thread_index();
  const int64_t count = load(counts + problem);
  if (e >= count * count) return;
  double sum = 0;
  for (int64_t s = 0; s < strips; ++s)
    sum += static_cast<double>(load(partial + (problem * strips + s) * square + e));
  store(w + problem * square + e, sum);
}

// Of all problems `taken` rows from the first one on.
struct GradientWork {
  Rows rows;
  const double* slopes;  // (problems, B, B)
  void* dp;              // in the gradient (problems, B, V), else (problems, taken, V)
  double* dots;          // (problems, taken, tiles of classes): <p, dp>
  int64_t first, taken;

  // Where dp of row i is.
  template <class T>
  __device__ accumulator_t<T>* dp_of(int64_t problem, int i) const {
    using Real = accumulator_t<T>;
    int64_t row = problem * taken + i - first;
    if (std::is_same_v<T, Real>)
      row = problem * rows.rows + load(rows.kept + problem * rows.rows + i);
    return static_cast<Real*>(dp) + row * rows.classes;
  }
  __device__ double* dots_of(int64_t problem, int i) const {
    return dots + (problem * taken + i - first) * ceil_div(rows.classes, kTile);
  }
};

// dp_ik = sum over j of G_ij sign(p_ik - q_jk), j in order.
template <class T>
__global__ void __launch_bounds__(kThreads, 2) sinkd_gradient_kernel(GradientWork work) {
  using Real = accumulator_t<T>;
  const Rows& rows = work.rows;
  const int64_t tiles = ceil_div(work.taken, kTile), columns = ceil_div(rows.classes, kTile);
  const int64_t problem = block_index() / (tiles * columns);
  const int i0 = static_cast<int>(work.first + block_index() / columns % tiles * kTile);
  const int64_t column = block_index() % columns;
  const int count = load(rows.count + problem);
  const int last =
      work.first + work.taken < count ? static_cast<int>(work.first + work.taken) : count;
  if (i0 >= last) return;
  auto& memory = shared<PairMemory<Real>>();  // left: G (j, i); right: q (j, classes)
  const int y = thread_index() / kSide, x = thread_index() % kSide;
  const Real inverse = static_cast<Real>(rows.inverse);
  fill_shares<T>(rows, problem, i0, true, memory.student);
  sync_threads();  // the student's shares are there
  Real p[kEach][kEach], sum[kEach][kEach] = {};
#pragma unroll
  for (int a = 0; a < kEach; ++a) {
    const RowShare<Real> row = load(memory.student + y + kSide * a);
#pragma unroll
    for (int b = 0; b < kEach; ++b)
      p[a][b] = probability<T>(row, inverse, column * kTile + x + kSide * b, rows.classes);
  }
  const double* const g = work.slopes + problem * rows.rows * rows.rows;
  for (int j0 = 0; j0 < count; j0 += kDepth) {
    if (j0 % kTile == 0) {
      fill_shares<T>(rows, problem, j0, false, memory.teacher);
      sync_threads();  // the shares are there
    }
    for (int e = thread_index(); e < kTile * kDepth; e += kThreads) {
      const int j = e % kDepth, i = e / kDepth;
      const bool inside = i0 + i < last && j0 + j < count;
      const double slope = inside ? load(g + int64_t{i0 + i} * count + j0 + j) : 0;
      store(memory.left + j * kPitch + i, static_cast<Real>(slope));
      const int c = e % kTile, r = e / kTile;
      const RowShare<Real> row = load(memory.teacher + j0 % kTile + r);
      store(memory.right + r * kPitch + c,
            probability<T>(row, inverse, column * kTile + c, rows.classes));
    }
    sync_threads();  // the tiles are there
    const int depth = count - j0 < kDepth ? count - j0 : kDepth;
    for (int j = 0; j < depth; ++j) {
      Real slope[kEach], q[kEach];
#pragma unroll
      for (int e = 0; e < kEach; ++e) {
        slope[e] = load(memory.left + j * kPitch + y + kSide * e);
        q[e] = load(memory.right + j * kPitch + x + kSide * e);
      }
#pragma unroll
      for (int a = 0; a < kEach; ++a)
#pragma unroll
        for (int b = 0; b < kEach; ++b)
          sum[a][b] += p[a][b] > q[b] ? slope[a] : p[a][b] < q[b] ? -slope[a] : Real(0);
    }
    sync_threads();  // they are read
  }
#pragma unroll
  for (int a = 0; a < kEach; ++a) {
    const int i = i0 + y + kSide * a;
    Real dot = 0;
#pragma unroll
    for (int b = 0; b < kEach; ++b) {
      const int64_t c = column * kTile + x + kSide * b;
      dot += p[a][b] * sum[a][b];
      if (i < last && c < rows.classes) store(work.dp_of<T>(problem, i) + c, sum[a][b]);
    }
#pragma unroll
    for (int mask = 1; mask < kSide; mask *= 2) dot += shuffle_xor(dot, mask);
    if (i < last && x == 0) store(work.dots_of(problem, i) + column, static_cast<double>(dot));
  }
}

struct FinishWork {
  GradientWork of;
  Numbers upstream;
  int64_t problem;  // the first one in work
  bool reduced;
  double factor;  // of the upstream gradient
  void* grad;     // like student
};

// dz = p (dp - <p, dp>)/T, a block a row; dp may lie where dz goes.
template <class T>
__global__ void __launch_bounds__(kThreads) sinkd_finish_kernel(FinishWork work) {
  using Real = accumulator_t<T>;
  const Rows& rows = work.of.rows;
  const int64_t problem = block_index() / work.of.taken;
  const int i = static_cast<int>(work.of.first + block_index() % work.of.taken);
  if (i >= load(rows.count + problem)) return;
  const double* const dots = work.of.dots_of(problem, i);
  double own = 0;
  for (int64_t c = thread_index(); c < ceil_div(rows.classes, kTile); c += kThreads)
    own += load(dots + c);
  const Real mean = static_cast<Real>(sum_over_block(own, &shared<double>()));
  const double scale = work.upstream[work.reduced ? 0 : work.problem + problem] * work.factor;
  const Real inverse = static_cast<Real>(rows.inverse);
  const Real by = static_cast<Real>(scale * rows.inverse);
  const RowShare<Real> p = share_of<T>(rows, problem, i, true);
  const Real* const dp = work.of.dp_of<T>(problem, i);
  const int64_t row = problem * rows.rows + load(rows.kept + problem * rows.rows + i);
  T* const to = static_cast<T*>(work.grad) + row * rows.classes;
  for (int64_t c = thread_index(); c < rows.classes; c += kThreads) {
    const Real share = probability<T>(p, inverse, c, rows.classes);
    store(to + c, narrowed<T>(share * (load(dp + c) - mean) * by));
  }
}

}  // namespace surprisal::sinkd
