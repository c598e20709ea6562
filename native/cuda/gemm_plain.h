// The main loop of float32 and float64 products by FMA, exact arithmetic (no tf32): a block of 16 x
// 16 threads multiplies one tile of rows of A with one of rows of B, a thread keeps R x R sums, so
// that a step loads 2 R numbers for R^2 FMAs. Sums run over k in chunks of 256 that are added up,
// as on the CPU: the error of a long sum grows with the number of chunks, not of terms. Their bits
// depend neither on the tile's shape and place nor on other rows.
#pragma once
#include "cuda/device.h"
#include "cuda/gemm.h"

namespace surprisal::cuda::gemm {

constexpr int kPlainSide = 16;  // threads along each side of a tile
constexpr int kPlainThreads = kPlainSide * kPlainSide;
constexpr int kPlainDepth = 16;   // of a step
constexpr int kPlainChunk = 256;  // of a chain of FMAs
static_assert(kPlainChunk % kPlainDepth == 0, "steps fill chunks");

// What the loop knows of an operand: `extent` rows (of A: m, of B: n).
struct PlainOperand {
  const void* data;
  int64_t stride;  // elements from one contiguous line to the next
  int64_t extent;
  bool by_k;  // lines are contiguous along k
};

template <class T, int R>
struct PlainStage {  // rows of k, each a side of the tile; padded against bank conflicts
  static constexpr int kPitch = kPlainSide * R + 16 / static_cast<int>(sizeof(T));
  alignas(16) T a[kPlainDepth * kPitch];
  alignas(16) T b[kPlainDepth * kPitch];
};
// Dynamic shared memory of a block: two stages.
template <class T, int R>
constexpr int64_t kPlainShared = 2 * int64_t{sizeof(PlainStage<T, R>)};

// One operand's numbers of a step on their way to shared memory: each thread takes R of them,
// neighbours in memory by neighbouring threads in either order.
template <class T, int R>
struct PlainLoader {
  static constexpr int kExtent = kPlainSide * R;
  const T* from;
  int64_t hop, along;  // elements from one of the R to the next, from one k to the next
  int64_t rows;        // left along mn
  int64_t depth;       // left along k
  int row, k;          // of the first of the R in a step
  bool by_k;
  T x[R];

  __device__ PlainLoader(const PlainOperand& p, int64_t first, int64_t begin, int64_t end)
      : by_k(p.by_k) {
    const int t = thread_index();
    row = by_k ? t / kPlainDepth : t % kExtent;
    k = by_k ? t % kPlainDepth : t / kExtent;
    const int64_t at =
        by_k ? (first + row) * p.stride + begin + k : (begin + k) * p.stride + first + row;
    from = static_cast<const T*>(p.data) + at;
    hop = (by_k ? kPlainThreads / kPlainDepth : kPlainThreads / kExtent) * p.stride;
    along = by_k ? 1 : p.stride;
    rows = p.extent - first - row;
    depth = end - begin - k;
  }
  __device__ void fetch() {
#pragma unroll
    for (int i = 0; i < R; ++i) {
      const bool inside = by_k ? i * (kPlainThreads / kPlainDepth) < rows && depth > 0
                               : rows > 0 && i * (kPlainThreads / kExtent) < depth;
      x[i] = inside ? load(from + i * hop) : T{0};
    }
    skip(kPlainDepth);
  }
  __device__ void skip(int64_t k) {
    from += k * along;
    depth -= k;
  }
  __device__ void put(T* stage) const {
    constexpr int kPitch = PlainStage<T, R>::kPitch;
#pragma unroll
    for (int i = 0; i < R; ++i) {
      const int at = by_k ? k * kPitch + row + i * (kPlainThreads / kPlainDepth)
                          : (k + i * (kPlainThreads / kExtent)) * kPitch + row;
      store(stage + at, x[i]);
    }
  }
};

__device__ inline float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline double fused(double a, double b, double c) { return fma(a, b, c); }

// Place in a tile of this thread's row (or column) number i: groups of 4, kPlainSide * 4 apart, so
// that 16-byte loads meet no bank twice. `line` is the thread's along that side.
__device__ inline int plain_place(int i, int line) {
  return i / 4 * kPlainSide * 4 + line * 4 + i % 4;
}
template <class T, int R>
__device__ inline void read_side(T (&to)[R], const T* line, int place) {
  constexpr int kWide = kPack<T>;
#pragma unroll
  for (int group = 0; group < R / 4; ++group)
#pragma unroll
    for (int e = 0; e < 4; e += kWide) {
      const auto pack = load(
          reinterpret_cast<const Pack<T, kWide>*>(line + group * kPlainSide * 4 + place * 4 + e));
#pragma unroll
      for (int w = 0; w < kWide; ++w) to[group * 4 + e + w] = pack.at[w];
    }
}

// total += the product of the block's tile, at row `row` of A and `column` of B, over k in [begin,
// end), or those of its steps that `which` says. This thread's sums are those of plain_place(i,
// thread / 16), plain_place(j, thread % 16). All threads of the block take part; shared memory is
// free again at the end.
template <class T, int R, class Steps = EveryStep>
__device__ inline void multiply_plain(T (&total)[R][R], const PlainOperand& left,
                                      const PlainOperand& right, int64_t row, int64_t column,
                                      int64_t begin, int64_t end, PlainStage<T, R>* stages,
                                      const Steps& which = {}) {
  using Stage = PlainStage<T, R>;
  PlainLoader<T, R> a(left, row, begin, end), b(right, column, begin, end);
  const int y = thread_index() / kPlainSide, x = thread_index() % kPlainSide;
  T sum[R][R] = {};
  const int64_t steps = which.steps(end - begin, kPlainDepth);
  const auto fetch = [&](int64_t step) {
    if (const int64_t skipped = which.before(step, kPlainDepth)) {
      a.skip(skipped);
      b.skip(skipped);
    }
    a.fetch();
    b.fetch();
  };
  if (steps == 0) return;
  fetch(0);
  a.put(stages[0].a);
  b.put(stages[0].b);
  sync_threads();  // step 0 is there
  for (int64_t step = 0; step < steps; ++step) {
    const bool more = step + 1 < steps;
    const Stage& now = stages[step % 2];
    if (more) fetch(step + 1);
#pragma unroll
    for (int k = 0; k < kPlainDepth; ++k) {
      T from_a[R], from_b[R];
      read_side(from_a, now.a + k * Stage::kPitch, y);
      read_side(from_b, now.b + k * Stage::kPitch, x);
#pragma unroll
      for (int i = 0; i < R; ++i)
#pragma unroll
        for (int j = 0; j < R; ++j) sum[i][j] = fused(from_a[i], from_b[j], sum[i][j]);
    }
    if (!more || (step + 1) % (kPlainChunk / kPlainDepth) == 0) {
#pragma unroll
      for (int i = 0; i < R; ++i)
#pragma unroll
        for (int j = 0; j < R; ++j) {
          total[i][j] += sum[i][j];
          sum[i][j] = 0;
        }
    }
    if (more) {
      Stage& next = stages[(step + 1) % 2];
      a.put(next.a);
      b.put(next.b);
    }
    sync_threads();  // the next step is there, and nobody reads this one any more
  }
}

}  // namespace surprisal::cuda::gemm
