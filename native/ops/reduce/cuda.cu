// Reductions on a device: (outer, n, inner) -> (outer, inner), see op.h. Memory-bound: the floor is
// reading `a` once; partial results add 8 to 24 bytes to every 16 KB of a long row or column.
//   inner = 1   row: short rows are one stretch of memory, long ones are cut into 16 KB; either is
//               staged in shared memory by 16 bytes, at any alignment, then folded row by row
//   inner > 1   column: threads on neighbouring columns; staged alike where rows are aligned
// 4 blocks of 256 threads an SM with 64 bytes each in flight: 64 KB, twice what an H100 needs to
// stream; 6 to 12 instructions an element, where an SM has 128 a clock for 3 (float32) to 7
// (16-bit) elements that arrive. Partial results are stored by position and folded in order by a
// second launch; how a row is cut and who folds which element depends on n and inner alone, not on
// its address: the same bits in any batch and on any device.
#include "cuda/launch.h"
#include "ops/reduce/fold.cuh"
#include "ops/reduce/stage.cuh"

namespace surprisal::reduce {
namespace {

// Blocks an SM that registers must leave room for, of 256 threads with 64 bytes in flight each:
// half as many from sm_100 on, whose code wants more of them.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
template <class Fold>
constexpr int kBlocks = sizeof(typename Fold::C) == 8 ? 1 : 2;
#else
template <class Fold>
constexpr int kBlocks = sizeof(typename Fold::C) == 8 ? 2 : 4;
#endif
template <class Fold>
constexpr int kColumnBlocks =
    kBlocks<Fold> == 4 && sizeof(typename Fold::State) > 16 ? 3 : kBlocks<Fold>;

// There are below 2^31 blocks, so that these divisions need 32 bits.
__device__ inline int64_t quotient(int64_t block, int64_t chunks) {
  return static_cast<uint32_t>(block) / static_cast<uint32_t>(chunks);
}

// --- results -------------------------------------------------------------------------------------
// What the first stage found for (o, c) in one chunk.
template <class Fold>
__device__ inline void emit(const Reduction& op, int64_t o, int64_t chunk, int64_t c,
                            typename Fold::State state) {
  using State = typename Fold::State;
  if (op.partial) {
    store(static_cast<State*>(op.partial) + (o * op.chunks + chunk) * op.inner + c, state);
  } else {
    Fold::finish(op, o * op.inner + c, state);
  }
}
__device__ inline int64_t result_of(const Reduction& op, int64_t o, int64_t c) {
  return (op.result.rank ? op.result.at(o) : o) * op.inner + c;
}

// The states of a block's threads, as (lanes, columns), folded over the lanes; a tree in shared
// memory. Lane 0 gets the result.
template <class Fold>
__device__ inline typename Fold::State join_columns(typename Fold::State state, int lanes,
                                                    int columns) {
  using State = typename Fold::State;
  State* states = &shared<State>();
  const int thread = thread_index();
  store(states + thread, state);
  for (int half = lanes / 2; half > 0; half /= 2) {
    sync_threads();  // the states of the lanes above are there
    if (thread >= half * columns) continue;
    state = Fold::join(state, load(states + thread + half * columns));
    store(states + thread, state);
  }
  return state;
}

// --- rows ----------------------------------------------------------------------------------------
// A thread's elements of what is staged: every `lanes`-th of n that lie `pitch` apart.
template <class Fold>
__device__ inline void fold_staged(Fold& fold, const unsigned char* x, DType dtype, int n,
                                   int pitch, int lane, int lanes, int64_t position) {
  using C = typename Fold::C;
  with_elements<C>(x, dtype, [&](const auto* staged) {
    for (int i = lane; i < n; i += kElements * lanes) {
      const auto* from = staged + i * pitch;
      const int step = lanes * pitch;
      C block[kElements];
      uint32_t valid = ~0u >> (32 - kElements);
      if (i + (kElements - 1) * lanes < n) {
#pragma unroll
        for (int e = 0; e < kElements; ++e) block[e] = as_number<C>(load(from + e * step));
      } else {
        valid = 0;
#pragma unroll
        for (int e = 0; e < kElements; ++e) {
          const bool is = i + e * lanes < n;
          block[e] = is ? as_number<C>(load(from + e * step)) : C{};
          valid |= uint32_t{is} << e;
        }
      }
      fold.block(block, valid, [&](int e) { return position + i + e * lanes; });
    }
  });
}

// Of the states of `lanes` neighbouring threads; the first of them gets the result. `states` holds
// one a warp. Every thread of the block takes part.
template <class Fold>
__device__ inline typename Fold::State reduce_group(typename Fold::State state, int lanes,
                                                    typename Fold::State* states) {
  if (lanes <= kWarp) return Fold::reduce_lanes(state, lanes);
  state = Fold::reduce_lanes(state, kWarp);
  const int warps = lanes / kWarp;
  if (lane_index() == 0) store(states + warp_index(), state);
  sync_threads();  // the warps' states are there
  state = load(states + warp_index() / warps * warps + lane_index() % warps);
  sync_threads();  // all have read: the next row's may overwrite them
  return Fold::reduce_lanes(state, warps);
}

template <class Fold>
__global__ __launch_bounds__(kThreads, kBlocks<Fold>) void reduce_row_kernel(const Reduction op) {
  using State = typename Fold::State;
  unsigned char* tile = &shared<unsigned char>();
  State* states = reinterpret_cast<State*>(tile + kTileBytes + 16);
  const int64_t unit = quotient(block_index(), op.chunks), chunk = block_index() - unit * op.chunks;
  const int64_t first = unit * op.rows, begin = chunk * op.chunk;
  const int rows = static_cast<int>(first + op.rows < op.outer ? op.rows : op.outer - first);
  const int64_t n = begin + op.chunk < op.n ? op.chunk : op.n - begin;  // of each row
  const int size = static_cast<int>(size_of(op.a.dtype));
  const int lanes = op.lanes, lane = thread_index() & (lanes - 1);
  const int group = thread_index() >> op.lane_bits, groups = kThreads >> op.lane_bits;
  const auto* a = static_cast<const unsigned char*>(op.a.data) + (first * op.n + begin) * size;
  const int64_t piece = kTileBytes / size;
  // Either many rows in one piece, or one row in one or more.
  for (int start = 0; start < rows; start += groups) {
    const int row = start + group;
    const bool is = row < rows;
    Fold fold;
    if (is) fold.begin(op, result_of(op, first + row, 0));
    for (int64_t i = 0; i == 0 || i < n; i += piece) {
      const int count = static_cast<int>(n - i < piece ? n - i : piece);  // of each row
      if (start == 0) {
        if (i > 0) sync_threads();  // all have read the piece before
        stage(a + i * size, rows * count, size, tile);
        sync_threads();  // the piece is there
      }
      const int skew = static_cast<int>(reinterpret_cast<uintptr_t>(a) % 16);
      if (is)
        fold_staged(fold, tile + skew + row * count * size, op.a.dtype, count, 1, lane, lanes,
                    begin + i);
    }
    const State state = reduce_group<Fold>(fold.state(), lanes, states);
    if (lane == 0 && is) emit<Fold>(op, first + row, chunk, 0, state);
  }
}

// --- columns -------------------------------------------------------------------------------------
// Where `columns` divides the inner axis and rows begin on 16 bytes: the block's columns of as many
// rows as fit are staged, 16 bytes an access. Threads fold the same elements in the same order as
// without.
template <class Fold>
__device__ inline void fold_columns_staged(const Reduction& op, Fold& fold, int columns, int lane,
                                           int64_t o, int64_t c, int64_t begin, int64_t end) {
  using Vector = Pack<uint32_t, 4>;
  constexpr int kUnroll = kTileBytes / 16 / kThreads;
  const int size = static_cast<int>(size_of(op.a.dtype));
  const int vectors = columns * size / 16, column = thread_index() & (columns - 1);
  const int rows = kTileBytes / 16 / vectors;
  unsigned char* tile = &shared<unsigned char>();
  const auto* from =
      static_cast<const unsigned char*>(op.a.data) + (o * op.n * op.inner + c - column) * size;
  const int first = thread_index() / vectors, step = kThreads / vectors;
  const int offset = (thread_index() & (vectors - 1)) * 16;
  for (int64_t i = begin; i < end; i += rows) {
    const int count = static_cast<int>(end - i < rows ? end - i : rows);
    Vector v[kUnroll];
#pragma unroll
    for (int k = 0; k < kUnroll; ++k) {
      const int row = first + k * step;
      if (row < count)
        v[k] =
            load_once(reinterpret_cast<const Vector*>(from + (i + row) * op.inner * size + offset));
    }
    if (i > begin) sync_threads();  // all have read the rows before
#pragma unroll
    for (int k = 0; k < kUnroll; ++k) {
      const int row = first + k * step;
      if (row < count) store(reinterpret_cast<Vector*>(tile + (row * vectors) * 16 + offset), v[k]);
    }
    sync_threads();  // the rows are there
    fold_staged(fold, tile + column * size, op.a.dtype, count, columns, lane, op.lanes, i);
  }
  sync_threads();  // the tile's place is needed for states
}

template <class Fold>
__global__ __launch_bounds__(kThreads,
                             kColumnBlocks<Fold>) void reduce_column_kernel(const Reduction op) {
  using C = typename Fold::C;
  const int lanes = op.lanes, columns = kThreads >> op.lane_bits;
  const int64_t tile = quotient(block_index(), op.chunks), chunk = block_index() - tile * op.chunks;
  const int lane = thread_index() / columns;
  const int64_t result = tile * columns + (thread_index() & (columns - 1));
  const bool is = result < op.outer * op.inner;
  const int64_t o = result / op.inner, c = result - o * op.inner;
  const int64_t begin = chunk * op.chunk;
  const int64_t end = !is ? begin : begin + op.chunk < op.n ? begin + op.chunk : op.n;
  Fold fold;
  if (is) fold.begin(op, result_of(op, o, c));
  if (op.staged) {
    fold_columns_staged(op, fold, columns, lane, o, c, begin, end);
  } else {
    const int64_t step = lanes * op.inner;
    for (int64_t i = begin + lane; i < end; i += kElements * lanes) {
      const auto at = [&](int e) { return i + e * lanes; };
      C x[kElements];
      uint32_t valid = 0;
      with_elements<C>(op.a.data, op.a.dtype, [&](const auto* a) {
        const auto* from = a + (o * op.n + i) * op.inner + c;
#pragma unroll
        for (int e = 0; e < kElements; ++e) {
          const bool there = at(e) < end;
          x[e] = there ? as_number<C>(load(from + e * step)) : C{};
          valid |= uint32_t{there} << e;
        }
      });
      fold.block(x, valid, at);
    }
  }
  const auto state = join_columns<Fold>(fold.state(), lanes, columns);
  if (lane == 0 && is) emit<Fold>(op, o, chunk, c, state);
}

// --- second stage --------------------------------------------------------------------------------
template <class Fold>
__global__ __launch_bounds__(kThreads,
                             kColumnBlocks<Fold>) void reduce_combine_kernel(const Reduction op) {
  using State = typename Fold::State;
  constexpr int kAtOnce = 4;
  const int lanes = op.lanes, columns = kThreads >> op.lane_bits;
  const int lane = thread_index() / columns;
  const int64_t result = block_index() * columns + (thread_index() & (columns - 1));
  const bool is = result < op.results;
  const auto* partial = static_cast<const State*>(op.partial) + (is ? op.kept.at(result) : 0);
  State state = Fold::none();
  for (int64_t i = lane; is && i < op.parts; i += kAtOnce * lanes) {
    State next[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int64_t part = i + k * lanes;
      next[k] = part < op.parts ? load(partial + op.folded.at(part)) : Fold::none();
      // Positions so far are those along the innermost axis.
      next[k] = Fold::moved(next[k], part < op.parts ? part / op.chunks * op.n : 0);
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) state = Fold::join(state, next[k]);
  }
  state = join_columns<Fold>(state, lanes, columns);
  if (lane == 0 && is) Fold::finish(op, result, state);
}

int bits_of_power(int x) {
  int bits = 0;
  while (x >> bits > 1) ++bits;
  return bits;
}

// --- launch --------------------------------------------------------------------------------------
template <class Fold>
void run(const Plan& plan, Reduction op, Stream& stream) {
  using State = typename Fold::State;
  static_assert(sizeof(State) <= kMaxState, "shared memory is planned for kMaxState");
  if (plan.combine) op.partial = stream.scratch<State>(plan.outer * plan.chunks * plan.inner);
  const Shape shape{plan.blocks, kThreads, plan.shared};
  if (plan.form == Form::row)
    launch(stream, reduce_row_kernel<Fold>, shape, op);
  else
    launch(stream, reduce_column_kernel<Fold>, shape, op);
  if (!plan.combine) return;
  op.lanes = plan.combine_lanes;
  op.lane_bits = bits_of_power(op.lanes);
  launch(stream, reduce_combine_kernel<Fold>,
         {plan.combine_blocks, kThreads, int64_t{kThreads} * kMaxState}, op);
}

template <class C>
void run_as(const Plan& plan, const Reduction& op, Stream& stream) {
  switch (op.kind) {
    case Kind::sum:
      return run<Sum<C>>(plan, op, stream);
    case Kind::max:
    case Kind::min:
    case Kind::argmax:
    case Kind::argmin:
      return run<Extreme<C>>(plan, op, stream);
    default:
      break;
  }
  if constexpr (std::is_integral_v<C>) {
    throw Error(Code::invalid_type, "reduce: expected a float dtype");
  } else {
    switch (op.kind) {
      case Kind::var:
      case Kind::std:
        return run<Moments<C>>(plan, op, stream);
      case Kind::logsumexp:
        return run<LogSum<C>>(plan, op, stream);
      case Kind::count_equal:
        return run<Sum<C>>(plan, op, stream);
      case Kind::norm:
        if (op.p == 1 || op.p == 2) return run<Sum<C>>(plan, op, stream);
        if (std::isinf(op.p)) return run<Extreme<C>>(plan, op, stream);
        return run<PowerSum<C>>(plan, op, stream);
      default:
        throw Error(Code::internal, "reduce: unknown kind");
    }
  }
}

}  // namespace

void reduce_cuda(const Reduce& op, Stream& stream) {
  require(op.a && op.out && op.shape.count() == op.a.size, "reduce: shape and size differ");
  require(!op.extra || op.extra.size == op.out.size, "reduce: extra has another size");
  const Axes axes = merged(op.shape, op.axes);
  const Plan plan = reduce::plan(axes, op.a.dtype);
  int64_t results = 1, count = 1;
  for (int d = 0; d < axes.rank; ++d) (axes.reduced[d] ? count : results) *= axes.size[d];
  require(results == op.out.size, "reduce: the result has another size");
  if (results == 0) return;
  const Reduction r{op.a,
                    op.out,
                    op.extra,
                    nullptr,
                    Kind(op.kind),
                    op.p,
                    plan.outer,
                    plan.n,
                    plan.inner,
                    plan.rows,
                    plan.chunk,
                    plan.chunks,
                    count,
                    plan.parts,
                    results,
                    plan.lanes,
                    bits_of_power(plan.lanes),
                    plan.kept,
                    plan.folded,
                    plan.result,
                    plan.staged && reinterpret_cast<uintptr_t>(op.a.data) % 16 == 0};
  if (op.a.dtype == DType::f64)
    run_as<double>(plan, r, stream);
  else if (is_float(op.a.dtype))
    run_as<float>(plan, r, stream);
  else
    run_as<int64_t>(plan, r, stream);
}

}  // namespace surprisal::reduce
