// Layer and RMS normalisation on a device; the contract is op.h's. Floor: forward reads x and
// writes y, backward reads x and g and writes dx; weight and bias stay in L2, per-row numbers are 8
// bytes.
//   y, dx            rows held in registers (cuda/row_hold.h) while their sums are found: one read
//                    of each matrix; rows beyond a cluster (a block on sm_80) in parts, read again
//   dweight, dbias   with dx in one pass over 32 rows or more a block (fused.cuh) where 256 <= D <=
//                    4096, a multiple of 16 bytes, not float64; else by a second read of x and g (5
//                    N D elements move, not 3): a block sums 64 rows or more of 512 bytes of
//                    columns. Partial sums of chunks, 8 bytes a column, are added up by another
//                    launch.
// Loads in flight an SM: 80 KB or more (softmax/cuda.cu); about 10 instructions an element.
// A thread adds up to 64 elements in the compute type, then all is float64. Deterministic: who adds
// what depends on D alone (weight gradients: on N and D), not on where a row lies.
#include "cuda/row_hold.h"
#include "ops/norm/fused.cuh"
#include "ops/norm/op.h"
#include "ops/norm/plan.h"

namespace surprisal::norm {
namespace {

using namespace ::surprisal::cuda;

// The slot's columns of weight or bias.
template <class T, class Part>
__device__ inline void load_columns(const T* from, int64_t columns, const Part& part, int slot,
                                    accumulator_t<T> (&to)[kPack<T>]) {
  load_beside(from, columns, part.column + slot * kPack<T>, part.whole(slot), part.begin, part.end,
              slot * kPack<T>, accumulator_t<T>(0), to);
}

template <class T>
struct ForwardRows {
  using Element = T;
  using Real = accumulator_t<T>;
  static constexpr int kInputs = 1, kPhases = 2, kLaneBlocks = 4;  // Σ x, Σ (x - mean)^2
  struct State {
    double sum;
  };
  struct Row {
    Real mean, r;
  };
  const T* input[1];
  T* output;
  int64_t rows, columns;
  const T *weight, *bias;  // null: none
  Real *mean, *r;          // mean null: rms
  double eps;

  SP_HOST_DEVICE bool wants(int phase) const { return phase > 0 || mean; }
  __device__ Row begin(int64_t) const { return {0, 0}; }
  __device__ State start() const { return {0}; }
  template <int Phase, class Part>
  __device__ void add(State& state, const Row& row, const Part& part, int slot,
                      Real (&x)[1][kPack<T>]) const {
    mask_slot(part, slot, row.mean, x[0]);
    Real sum = 0;
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e) {
      const Real d = x[0][e] - row.mean;
      sum += Phase == 0 ? x[0][e] : d * d;
    }
    state.sum += sum;
  }
  __device__ void merge(State& into, const State& from) const { into.sum += from.sum; }
  template <int Phase>
  __device__ Row finish(int64_t number, const Row& before, const State& state, bool leader) const {
    Row row = before;
    const double average = state.sum / static_cast<double>(columns);
    if (Phase == 0) {
      row.mean = static_cast<Real>(average);
      if (leader) store(mean + number, row.mean);
    } else {
      row.r = static_cast<Real>(1 / sqrt(average + eps));
      if (leader) store(r + number, row.r);
    }
    return row;
  }
  template <class Part>
  __device__ void emit(const Row& row, const Part& part, int slot, const Real (&x)[1][kPack<T>],
                       Real (&y)[kPack<T>]) const {
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e) y[e] = (x[0][e] - row.mean) * row.r;
    Real column[kPack<T>];
    if (weight) {
      load_columns(weight, columns, part, slot, column);
#pragma unroll
      for (int e = 0; e < kPack<T>; ++e) y[e] *= column[e];
    }
    if (bias) {
      load_columns(bias, columns, part, slot, column);
#pragma unroll
      for (int e = 0; e < kPack<T>; ++e) y[e] += column[e];
    }
  }
};

template <class T>
struct BackwardRows {
  using Element = T;
  using Real = accumulator_t<T>;
  static constexpr int kInputs = 2, kPhases = 1, kLaneBlocks = 2;  // x, g
  // What is rounded to 16 bits does not need float64, and lacks the registers.
  using Total = std::conditional_t<sizeof(T) == 2, float, double>;
  struct State {
    Total along, level;  // Σ q h, Σ q
  };
  struct Row {
    Real mean, r, along, level;
  };
  const T* input[2];
  T* output;
  int64_t rows, columns;
  const T* weight;
  const Real *mean, *r;

  SP_HOST_DEVICE bool wants(int) const { return true; }
  __device__ Row begin(int64_t number) const {
    return {mean ? load(mean + number) : Real(0), load(r + number), 0, 0};
  }
  __device__ State start() const { return {0, 0}; }
  // q = g w
  template <class Part>
  __device__ void weigh(const Part& part, int slot, Real (&g)[kPack<T>]) const {
    if (!weight) return;
    Real w[kPack<T>];
    load_columns(weight, columns, part, slot, w);
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e) g[e] *= w[e];
  }
  template <int Phase, class Part>
  __device__ void add(State& state, const Row& row, const Part& part, int slot,
                      Real (&x)[2][kPack<T>]) const {
    mask_slot(part, slot, row.mean, x[0]);
    mask_slot(part, slot, Real(0), x[1]);
    weigh(part, slot, x[1]);
    Real along = 0, level = 0;
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e) {
      along += x[1][e] * ((x[0][e] - row.mean) * row.r);
      level += x[1][e];
    }
    state.along += along;
    state.level += level;
  }
  __device__ void merge(State& into, const State& from) const {
    into.along += from.along;
    into.level += from.level;
  }
  template <int Phase>
  __device__ Row finish(int64_t, const Row& row, const State& state, bool) const {
    const Total n = static_cast<Total>(columns);
    return {row.mean, row.r, static_cast<Real>(state.along / n),
            mean ? static_cast<Real>(state.level / n) : Real(0)};
  }
  template <class Part>
  __device__ void emit(const Row& row, const Part& part, int slot, Real (&x)[2][kPack<T>],
                       Real (&y)[kPack<T>]) const {
    weigh(part, slot, x[1]);
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e) {
      const Real h = (x[0][e] - row.mean) * row.r;
      y[e] = (x[1][e] - row.level - h * row.along) * row.r;
    }
  }
};

template <class T>
struct WeightGradient {
  using Real = accumulator_t<T>;
  const T *x, *g;
  const Real *mean, *r;
  int64_t rows, columns;
  WeightPlan plan;
  Real *dweight, *dbias;  // (chunks, columns), null: not wanted
};

// Lanes on neighbouring slots of 16 bytes, a warp every eighth row of the chunk.
template <class T>
__global__ void __launch_bounds__(kThreads, resident(3))
    norm_weight_kernel(const WeightGradient<T> op) {
  using Real = accumulator_t<T>;
  constexpr int E = kPack<T>, kWarps = kThreads / kWarp;
  const int64_t chunk = block_index() / op.plan.tiles, tile = block_index() - chunk * op.plan.tiles;
  const int64_t column = (tile * kTileSlots + lane_index()) * E;
  const int64_t first = chunk * op.plan.chunk;
  const int64_t last = first + op.plan.chunk < op.rows ? first + op.plan.chunk : op.rows;
  const int count = column >= op.columns       ? 0
                    : column + E <= op.columns ? E
                                               : static_cast<int>(op.columns - column);
  Real dw[E] = {}, db[E] = {};
#pragma unroll 2
  for (int64_t row = first + warp_index(); row < last; row += kWarps) {
    const Real mean = op.mean ? load(op.mean + row) : Real(0), r = load(op.r + row);
    Real x[E], g[E];
    const int64_t at = row * op.columns + column, all = op.rows * op.columns;
    if (count == E) {
      widen<T>(load_anywhere(op.x, all, at), x);
      widen<T>(load_anywhere(op.g, all, at), g);
    } else {
      load_beside(op.x, all, at, false, 0, count, 0, mean, x);
      load_beside(op.g, all, at, false, 0, count, 0, Real(0), g);
    }
#pragma unroll
    for (int e = 0; e < E; ++e) {
      dw[e] += g[e] * ((x[e] - mean) * r);
      db[e] += g[e];
    }
  }
  // The warps' sums, in their order.
  Real* sums = &shared<Real>();  // (2, kWarps, kTileSlots E)
  constexpr int kColumns = kTileSlots * E;
#pragma unroll
  for (int e = 0; e < E; ++e) {
    store(sums + warp_index() * kColumns + e * kTileSlots + lane_index(), dw[e]);
    store(sums + (kWarps + warp_index()) * kColumns + e * kTileSlots + lane_index(), db[e]);
  }
  sync_threads();  // the warps' sums are there
  for (int i = thread_index(); i < 2 * kColumns; i += kThreads) {
    const int which = i / kColumns, place = i % kColumns;
    Real* const to = which ? op.dbias : op.dweight;
    const int64_t at = (tile * kTileSlots + place % kTileSlots) * E + place / kTileSlots;
    if (!to || at >= op.columns) continue;
    Real sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += load(sums + (which * kWarps + w) * kColumns + place);
    store(to + chunk * op.columns + at, sum);
  }
}

// The chunks' sums in float64: a thread every eighth chunk, then the threads in order.
template <class T>
__global__ void __launch_bounds__(kThreads)
    norm_combine_kernel(const accumulator_t<T>* partial, int64_t chunks, int64_t columns, T* out) {
  constexpr int kColumns = kThreads / kCombineLanes;
  const int lane = thread_index() / kColumns, place = thread_index() % kColumns;
  const int64_t column = block_index() * kColumns + place;
  double sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (int64_t k = lane; k < chunks; k += kCombineLanes)
      sum += load(partial + k * columns + column);
  }
  double* sums = &shared<double>();
  store(sums + thread_index(), sum);
  sync_threads();  // the threads' sums are there
  if (lane > 0 || column >= columns) return;
  for (int k = 1; k < kCombineLanes; ++k) sum += load(sums + k * kColumns + place);
  store(out + column, narrowed<T>(static_cast<accumulator_t<T>>(sum)));
}

bool has_clusters(const Stream& stream) { return stream.properties().has_clusters(); }
bool on_16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

template <class Op>
void run_rows(const Op& op, DType dtype, Stream& stream) {
  const HoldPlan plan = plan_hold({op.rows, op.columns, dtype, has_clusters(stream)});
  launch_rows(op, plan, stream);
}

template <class T>
void input_gradients(const Backward& op, Stream& stream) {
  using Real = accumulator_t<T>;
  if (!op.x.size) return;
  run_rows(BackwardRows<T>{{op.x.as<T>(), op.g.as<T>()},
                           op.dx.as<T>(),
                           op.rows,
                           op.width,
                           op.weight.as<T>(),
                           op.mean.as<Real>(),
                           op.r.as<Real>()},
           op.x.dtype, stream);
}

// dx and the chunks' sums in one launch; false where the shape does not allow it.
template <class T>
bool run_fused(const Backward& op, const WeightGradient<T>& work, Stream& stream) {
  if constexpr (std::is_same_v<T, double>) {
    return false;
  } else {
    if (!work.plan.team) return false;
    const int64_t teams = kThreads / work.plan.team;
    const int64_t shared = sizeof(FusedSums) + teams * op.width * int64_t{sizeof(float)};
    launch(stream, norm_fused_kernel<T>, {work.plan.blocks, kThreads, shared},
           FusedBackward<T>{
               work.x, work.g, op.weight.as<T>(), work.mean, work.r, op.dx.as<T>(), op.rows,
               op.width, work.plan.chunk, work.plan.team,
               on_16(op.x.data) && on_16(op.g.data) && on_16(op.dx.data) && on_16(op.weight.data),
               work.dweight, work.dbias});
    return true;
  }
}

template <class T>
void weight_gradients(const Backward& op, Stream& stream) {
  using Real = accumulator_t<T>;
  const WeightPlan plan = plan_weights(op.rows, op.width, op.x.dtype, bool(op.dx));
  const int64_t size = plan.chunks * op.width;
  WeightGradient<T> work{
      op.x.as<T>(), op.g.as<T>(), op.mean.as<Real>(), op.r.as<Real>(), op.rows, op.width, plan,
      nullptr,      nullptr};
  if (op.dweight) work.dweight = stream.scratch<Real>(size);
  if (op.dbias) work.dbias = stream.scratch<Real>(size);
  if (!run_fused(op, work, stream)) {
    if (op.dx) input_gradients<T>(op, stream);
    const int64_t shared = int64_t{2} * kThreads * 16 / sizeof(T) * sizeof(Real);
    launch(stream, norm_weight_kernel<T>, {plan.blocks, kThreads, shared}, work);
  }
  const Shape combine{plan.combine_blocks, kThreads, int64_t{kThreads} * sizeof(double)};
  if (op.dweight)
    launch(stream, norm_combine_kernel<T>, combine, work.dweight, plan.chunks, op.width,
           op.dweight.as<T>());
  if (op.dbias)
    launch(stream, norm_combine_kernel<T>, combine, work.dbias, plan.chunks, op.width,
           op.dbias.as<T>());
}

}  // namespace

void forward_cuda(const Forward& op, Stream& stream) {
  check(op);
  if (!op.x.size) return;
  visit_float(op.x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using Real = accumulator_t<T>;
    run_rows(ForwardRows<T>{{op.x.as<T>()},
                            op.y.as<T>(),
                            op.rows,
                            op.width,
                            op.weight.as<T>(),
                            op.bias.as<T>(),
                            op.mean.as<Real>(),
                            op.r.as<Real>(),
                            op.eps},
             op.x.dtype, stream);
  });
}

void backward_cuda(const Backward& op, Stream& stream) {
  check(op);
  visit_float(op.x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    // Without a row weight gradients are zeros: no chunks are added up.
    if ((op.dweight || op.dbias) && op.width)
      weight_gradients<T>(op, stream);
    else if (op.dx)
      input_gradients<T>(op, stream);
  });
}

}  // namespace surprisal::norm
