// softmax and log-softmax on a device, forward and backward; the contract is op.h's. Floor: forward
// reads x once and writes y once, backward reads y and g once and writes dx once.
//   inner = 1   rows held in registers (cuda/row_hold.h): 8 or 32 lanes, a block, a cluster; rows
//               beyond 32768 bytes a block (262144 a cluster on sm_90) are read twice, in parts
//   inner > 1   columns: 32 neighbours a block, held too where n <= 128, else read twice
// Loads in flight an SM: forward 5 blocks of 256 threads x 64 bytes, or 3 x 128 bytes; backward
// 3 x 128 or 2 x 256: 80 KB and more, where an H100 needs 32. At 3.1 TB/s 3.5 16-bit elements a
// clock and SM come in, and go out; with 2 exponentials each forward takes about 20 of the 36
// instructions that there are for an element, and 7 of 16 exponentials a clock.
// Exponentials: e^d as 2^(d log2 e) for 16-bit dtypes: its relative error, 2^-23 (2 + |d|), is far
// below a rounding of the result; expf and exp for the others.
#include "cuda/row_hold.h"
#include "ops/softmax/op.h"
#include "ops/softmax/plan.h"

namespace surprisal::softmax {
namespace {

using namespace ::surprisal::cuda;

template <class T>
__device__ inline accumulator_t<T> exp_of(accumulator_t<T> d) {
  if constexpr (std::is_same_v<T, double>)
    return exp(d);
  else if constexpr (std::is_same_v<T, float>)
    return expf(d);
  else
    return exp2_fast(d * 1.44269504f);
}
__device__ inline float log_of(float x) { return logf(x); }
__device__ inline double log_of(double x) { return log(x); }

// Magnitude, and a NaN as the greatest.
template <class Real>
__device__ inline bool greater(Real x, Real y) {
  return x > y || (x != x && y == y);
}

template <class T>
struct ForwardRows {
  using Element = T;
  using Real = accumulator_t<T>;
  static constexpr int kInputs = 1, kPhases = 1, kLaneBlocks = sizeof(T) == 8 ? 3 : 5;
  static constexpr Real kFill = -std::numeric_limits<Real>::infinity();
  struct State {
    Real max, sum;  // Σ e^(x - max); 0 while max is -inf
  };
  struct Row {
    Real max, scale;  // 1/sum; log sum for log-softmax
  };
  const T* input[1];
  T* output;
  int64_t rows, columns;
  bool log;

  SP_HOST_DEVICE bool wants(int) const { return true; }
  __device__ Row begin(int64_t) const { return {}; }
  __device__ State start() const { return {kFill, 0}; }
  template <int N>
  __device__ void fold(State& state, const Real (&x)[1][N]) const {
    Real top = x[0][0];
#pragma unroll
    for (int e = 1; e < N; ++e) top = greater(x[0][e], top) ? x[0][e] : top;
    if (greater(top, state.max)) {
      if (state.sum != 0) state.sum *= exp_of<T>(state.max - top);
      state.max = top;
    }
    const Real shift = state.max == kFill ? Real(0) : state.max;  // -inf + inf would be NaN
    Real sum[2] = {0, 0};
#pragma unroll
    for (int e = 0; e < N; ++e) sum[e % 2] += exp_of<T>(x[0][e] - shift);
    state.sum += sum[0] + sum[1];
  }
  template <int Phase, class Part>
  __device__ void add(State& state, const Row&, const Part& part, int slot,
                      Real (&x)[1][kPack<T>]) const {
    mask_slot(part, slot, kFill, x[0]);
    fold(state, x);
  }
  // The smaller one is scaled: one rounding, whichever of the two comes first.
  __device__ void merge(State& into, const State& from) const {
    const bool up = greater(from.max, into.max);
    const State high = up ? from : into, low = up ? into : from;
    into = high;
    if (low.sum != 0) into.sum = high.sum + low.sum * exp_of<T>(low.max - high.max);
  }
  template <int Phase>
  __device__ Row finish(int64_t, const Row&, const State& state, bool) const {
    return {state.max, log ? log_of(state.sum) : 1 / state.sum};
  }
  template <int N>
  __device__ void values(const Row& row, const Real (&x)[1][N], Real (&y)[N]) const {
    // log: two subtractions, as max + log sum would lose the sum beside a large max.
    if (log) {
#pragma unroll
      for (int e = 0; e < N; ++e) y[e] = (x[0][e] - row.max) - row.scale;
    } else {
#pragma unroll
      for (int e = 0; e < N; ++e) y[e] = exp_of<T>(x[0][e] - row.max) * row.scale;
    }
  }
  template <class Part>
  __device__ void emit(const Row& row, const Part&, int, const Real (&x)[1][kPack<T>],
                       Real (&y)[kPack<T>]) const {
    values(row, x, y);
  }
};

template <class T>
struct BackwardRows {
  using Element = T;
  using Real = accumulator_t<T>;
  static constexpr int kInputs = 2, kPhases = 1, kLaneBlocks = 3;  // y, g
  static constexpr Real kFill = 0;
  struct State {
    Real sum;  // Σ g y; Σ g for log-softmax
  };
  using Row = State;
  const T* input[2];
  T* output;
  int64_t rows, columns;
  bool log;

  SP_HOST_DEVICE bool wants(int) const { return true; }
  __device__ Row begin(int64_t) const { return {}; }
  __device__ State start() const { return {0}; }
  template <int N>
  __device__ void fold(State& state, const Real (&x)[2][N]) const {
    Real sum[2] = {0, 0};
#pragma unroll
    for (int e = 0; e < N; ++e) sum[e % 2] += log ? x[1][e] : x[1][e] * x[0][e];
    state.sum += sum[0] + sum[1];
  }
  template <int Phase, class Part>
  __device__ void add(State& state, const Row&, const Part& part, int slot,
                      Real (&x)[2][kPack<T>]) const {
    mask_slot(part, slot, kFill, x[0]);
    mask_slot(part, slot, kFill, x[1]);
    fold(state, x);
  }
  __device__ void merge(State& into, const State& from) const { into.sum += from.sum; }
  template <int Phase>
  __device__ Row finish(int64_t, const Row&, const State& state, bool) const {
    return state;
  }
  template <int N>
  __device__ void values(const Row& row, const Real (&x)[2][N], Real (&y)[N]) const {
    if (log) {
#pragma unroll
      for (int e = 0; e < N; ++e) y[e] = x[1][e] - exp_of<T>(x[0][e]) * row.sum;
    } else {
#pragma unroll
      for (int e = 0; e < N; ++e) y[e] = x[0][e] * (x[1][e] - row.sum);
    }
  }
  template <class Part>
  __device__ void emit(const Row& row, const Part&, int, const Real (&x)[2][kPack<T>],
                       Real (&y)[kPack<T>]) const {
    values(row, x, y);
  }
};

struct Columns {
  int64_t results, n, inner;
  int lanes;
  bool held;
};

// `lanes` threads a column, kThreads / lanes neighbouring columns of (outer, n, inner) a block.
template <class Op>
__global__ void __launch_bounds__(kThreads, resident(sizeof(typename Op::Element) == 8 ? 1 : 2))
    softmax_column_kernel(const Op op, const Columns at) {
  using T = typename Op::Element;
  using Real = accumulator_t<T>;
  using State = typename Op::State;
  const int columns = kThreads / at.lanes, lane = thread_index() / columns;
  const int64_t result = block_index() * columns + (thread_index() & (columns - 1));
  const bool is = result < at.results;
  const int64_t o = result / at.inner, c = result - o * at.inner;
  const int64_t base = o * at.n * at.inner + c, end = is ? at.n : 0;
  T raw[Op::kInputs][kHeld];
  const auto read = [&](int64_t i) {
#pragma unroll
    for (int m = 0; m < Op::kInputs; ++m)
#pragma unroll
      for (int e = 0; e < kHeld; ++e)
        if (i + e * at.lanes < end)
          raw[m][e] = load(op.input[m] + base + (i + e * at.lanes) * at.inner);
  };
  State state = op.start();
  for (int64_t i = lane; i < end; i += kHeld * at.lanes) {
    read(i);
    Real x[Op::kInputs][kHeld];
#pragma unroll
    for (int m = 0; m < Op::kInputs; ++m)
#pragma unroll
      for (int e = 0; e < kHeld; ++e)
        x[m][e] = i + e * at.lanes < end ? widened(raw[m][e]) : Op::kFill;
    op.fold(state, x);
  }
  State* states = &shared<State>();
  store(states + thread_index(), state);
  for (int half = at.lanes / 2; half > 0; half /= 2) {
    sync_threads();  // the states of the lanes above are there
    if (lane >= half) continue;
    op.merge(state, load(states + thread_index() + half * columns));
    store(states + thread_index(), state);
  }
  sync_threads();  // those of lane 0 are final
  const auto row =
      op.template finish<0>(0, {}, load(states + (thread_index() & (columns - 1))), false);
  for (int64_t i = lane; i < end; i += kHeld * at.lanes) {
    if (!at.held) read(i);
#pragma unroll
    for (int e = 0; e < kHeld; ++e) {
      if (i + e * at.lanes >= end) continue;
      Real x[Op::kInputs][1], y[1];
#pragma unroll
      for (int m = 0; m < Op::kInputs; ++m) x[m][0] = widened(raw[m][e]);
      op.values(row, x, y);
      store(op.output + base + (i + e * at.lanes) * at.inner, narrowed<T>(y[0]));
    }
  }
}

template <class Op, class Call>
void run(Op op, const Call& call, Stream& stream) {
  op.rows = call.outer * call.inner;
  op.columns = call.n;
  op.log = call.log;
  const Plan p = plan({call.outer, call.n, call.inner, DTypeOf<typename Op::Element>::value,
                       stream.properties().has_clusters()});
  if (!p.lanes) return launch_rows(op, p.rows, stream);
  launch(stream, softmax_column_kernel<Op>,
         {p.blocks, kThreads, int64_t{kThreads} * sizeof(typename Op::State)}, op,
         Columns{op.rows, call.n, call.inner, p.lanes, p.held});
}

}  // namespace

void forward_cuda(const Forward& op, Stream& stream) {
  check(op);
  if (!op.x.size) return;
  visit_float(op.x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    run(ForwardRows<T>{{op.x.as<T>()}, op.y.as<T>(), 0, 0, false}, op, stream);
  });
}

void backward_cuda(const Backward& op, Stream& stream) {
  check(op);
  if (!op.y.size) return;
  visit_float(op.y.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    run(BackwardRows<T>{{op.y.as<T>(), op.g.as<T>()}, op.dx.as<T>(), 0, 0, false}, op, stream);
  });
}

}  // namespace surprisal::softmax
