// Matrix products on the device, by dtype:
//   float16, bfloat16  float32 sums on tensor cores: 2 m n k flop at the rate of wgmma where there
//   is
//                      one and rows start at multiples of 16 bytes (warpgroups.h), else of mma.sync
//                      (tensor_cores.h)
//   float32, float64   the kernel below, exact arithmetic (no tf32) at the rate of FMA: a thread
//                      keeps R x R sums, so that a step loads 2 R numbers for R^2 FMAs. Sums run
//                      over k in chunks of 256 that are added up, as on the CPU: the error of a
//                      long sum grows with the number of chunks, not of terms.
// Small outputs with long sums are cut into parts along k (plan.h), which a second kernel adds in
// order: the same bits each run.
#include "cuda/cublaslt.h"
#include "cuda/launch.h"
#include "ops/matmul/check.h"
#include "ops/matmul/launch.h"

namespace surprisal::matmul {
namespace {

using namespace cuda;

constexpr int kSide = 16;  // threads along each side of a tile
constexpr int kThreads = kSide * kSide;
constexpr int kDepth = 16;   // of a step
constexpr int kChunk = 256;  // of a chain of FMAs
static_assert(kPartStep % kDepth == 0 && kChunk % kDepth == 0, "steps fill parts and chunks");

template <class T, int R>
struct Stage {  // rows of k, each a side of the tile; padded against bank conflicts
  static constexpr int kPitch = kSide * R + 16 / static_cast<int>(sizeof(T));
  alignas(16) T a[kDepth * kPitch];
  alignas(16) T b[kDepth * kPitch];
};

// One operand's numbers of a step on their way to shared memory: each thread takes R of them,
// neighbours in memory by neighbouring threads in either order.
template <class T, int R>
struct Loader {
  static constexpr int kExtent = kSide * R;
  const T* from;
  int64_t hop, step;  // elements from one of the R to the next, from a step to the next
  int64_t rows;       // left along mn
  int64_t depth;      // left along k
  int row, k;         // of the first of the R in a step
  bool by_k;
  T x[R];

  __device__ Loader(const void* data, bool contiguous_k, int64_t extent, int64_t k_size,
                    int64_t first, int64_t begin, int64_t end)
      : by_k(contiguous_k) {
    const int t = thread_index();
    row = by_k ? t / kDepth : t % kExtent;
    k = by_k ? t % kDepth : t / kExtent;
    const int64_t stride = by_k ? k_size : extent;
    const int64_t at =
        by_k ? (first + row) * stride + begin + k : (begin + k) * stride + first + row;
    from = static_cast<const T*>(data) + at;
    hop = (by_k ? kThreads / kDepth : kThreads / kExtent) * stride;
    step = by_k ? kDepth : kDepth * stride;
    rows = extent - first - row;
    depth = end - begin - k;
  }
  __device__ void fetch() {
#pragma unroll
    for (int i = 0; i < R; ++i) {
      const bool inside = by_k ? i * (kThreads / kDepth) < rows && depth > 0
                               : rows > 0 && i * (kThreads / kExtent) < depth;
      x[i] = inside ? load(from + i * hop) : T{0};
    }
    from += step;
    depth -= kDepth;
  }
  __device__ void put(T* stage) const {
    constexpr int kPitch = Stage<T, R>::kPitch;
#pragma unroll
    for (int i = 0; i < R; ++i) {
      const int at = by_k ? k * kPitch + row + i * (kThreads / kDepth)
                          : (k + i * (kThreads / kExtent)) * kPitch + row;
      store(stage + at, x[i]);
    }
  }
};

__device__ inline float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline double fused(double a, double b, double c) { return fma(a, b, c); }

// A thread's rows (and columns) of a tile are groups of 4, kSide * 4 apart: 16-byte loads without
// bank conflicts.
template <class T, int R>
__device__ inline void read_side(T (&to)[R], const T* line, int place) {
  constexpr int kWide = kPack<T>;
#pragma unroll
  for (int group = 0; group < R / 4; ++group)
#pragma unroll
    for (int e = 0; e < 4; e += kWide) {
      const auto pack =
          load(reinterpret_cast<const Pack<T, kWide>*>(line + group * kSide * 4 + place * 4 + e));
#pragma unroll
      for (int w = 0; w < kWide; ++w) to[group * 4 + e + w] = pack.at[w];
    }
}

template <class T, int R>
__global__ void __launch_bounds__(kThreads, 1) matmul_plain_kernel(Parameters p) {
  using Memory = Stage<T, R>;
  Memory* stages = &shared<Memory>();
  const Place place(p, block_index());
  Loader<T, R> a(static_cast<const T*>(p.a) + p.a_starts.of(place.pair), !p.transpose_a, p.m, p.k,
                 place.row, place.begin, place.end);
  Loader<T, R> b(static_cast<const T*>(p.b) + p.b_starts.of(place.pair), p.transpose_b, p.n, p.k,
                 place.column, place.begin, place.end);
  const int y = thread_index() / kSide, x = thread_index() % kSide;
  T total[R][R] = {}, sum[R][R] = {};
  const int64_t steps = (place.end - place.begin + kDepth - 1) / kDepth;
  a.fetch();
  b.fetch();
  a.put(stages[0].a);
  b.put(stages[0].b);
  sync_threads();  // step 0 is there
  for (int64_t step = 0; step < steps; ++step) {
    const bool more = step + 1 < steps;
    const Memory& now = stages[step % 2];
    if (more) {
      a.fetch();
      b.fetch();
    }
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      T left[R], right[R];
      read_side(left, now.a + k * Memory::kPitch, y);
      read_side(right, now.b + k * Memory::kPitch, x);
#pragma unroll
      for (int i = 0; i < R; ++i)
#pragma unroll
        for (int j = 0; j < R; ++j) sum[i][j] = fused(left[i], right[j], sum[i][j]);
    }
    if (!more || (step + 1) % (kChunk / kDepth) == 0) {
#pragma unroll
      for (int i = 0; i < R; ++i)
#pragma unroll
        for (int j = 0; j < R; ++j) {
          total[i][j] += sum[i][j];
          sum[i][j] = 0;
        }
    }
    if (more) {
      Memory& next = stages[(step + 1) % 2];
      a.put(next.a);
      b.put(next.b);
    }
    sync_threads();  // the next step is there, and nobody reads this one any more
  }
  const bool parts = p.plan.parts > 1;
  const int64_t matrix = p.m * p.n;
  T* out = parts ? static_cast<T*>(p.partials) + (place.part * p.batch + place.pair) * matrix
                 : static_cast<T*>(p.out) + place.pair * matrix;
#pragma unroll
  for (int i = 0; i < R; ++i)
#pragma unroll
    for (int j = 0; j < R; ++j) {
      const int64_t row = place.row + i / 4 * kSide * 4 + y * 4 + i % 4;
      const int64_t column = place.column + j / 4 * kSide * 4 + x * 4 + j % 4;
      if (row >= p.m || column >= p.n) continue;
      T* to = out + row * p.n + column;
      store(to, p.accumulate && !parts ? total[i][j] + load(to) : total[i][j]);
    }
}

// Adds up the parts of sums that were cut along k.
template <class T>
__global__ void __launch_bounds__(kThreads)
    matmul_parts_kernel(const accumulator_t<T>* partials, T* out, int64_t size, int64_t parts,
                        bool accumulate) {
  const int64_t i = block_index() * kThreads + thread_index();
  if (i >= size) return;
  accumulator_t<T> sum = load(partials + i);
  for (int64_t part = 1; part < parts; ++part) sum += load(partials + part * size + i);
  if constexpr (std::is_same_v<T, accumulator_t<T>>) {
    store(out + i, accumulate ? sum + load(out + i) : sum);
  } else {
    store(out + i, from_float<T>(accumulate ? sum + to_float(load(out + i)) : sum));
  }
}

template <class T, int R>
void plain(const Parameters& p, Stream& stream) {
  launch(stream, matmul_plain_kernel<T, R>,
         {p.plan.blocks, kThreads, 2 * int64_t{sizeof(Stage<T, R>)}}, p);
}

// Regular offsets, which is nearly all there are, become a step; others go to the device.
Starts starts_of(const View& offsets, int64_t matrix, Stream& stream) {
  if (!offsets) return {nullptr, matrix};
  const int64_t* at = offsets.as<int64_t>();
  const int64_t step = offsets.size > 1 ? at[1] - at[0] : 0;
  bool regular = at[0] == 0;
  for (int64_t i = 1; i < offsets.size && regular; ++i) regular = at[i] == i * step;
  if (regular) return {nullptr, step};
  int64_t* copy = stream.scratch<int64_t>(offsets.size);
  stream.upload(copy, at, offsets.size * int64_t{sizeof(int64_t)});
  return {copy, 0};
}

bool is_packed(const View& view, const View& offsets, int64_t line) {
  bool whole = gemm::is_packed(reinterpret_cast<uintptr_t>(view.data), line, line);
  for (int64_t i = 0; offsets && whole && i < offsets.size; ++i)
    whole = offsets.as<int64_t>()[i] % 8 == 0;
  return whole;
}

// Whether the copy engine can fetch boxes of an operand, which it sees as one matrix over all
// pairs.
bool has_boxes(const Starts& starts, int64_t lines, int64_t width, int64_t batch) {
  constexpr int64_t kMost = (int64_t{1} << 31) - 1024;  // coordinates are ints, tiles hang over
  if (starts.at || width >= kMost) return false;
  return starts.step == 0 ? lines < kMost : starts.step == lines * width && lines * batch < kMost;
}

bool is_wide(const Parameters& p, const Properties& device) {
  if (!device.has_wgmma() || !p.a_packed || !p.b_packed || p.k == 0) return false;
  // Boxes that hang over the end of a pair along k would bring the next one's numbers.
  const bool zeros_behind_k = !p.transpose_a && p.transpose_b;
  if (p.batch > 1 && p.k % kPartStep != 0 && !zeros_behind_k) return false;
  return has_boxes(p.a_starts, p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k, p.batch) &&
         has_boxes(p.b_starts, p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n, p.batch);
}

template <class T>
void tensor_cores(const Parameters& p, Stream& stream) {
  constexpr bool kBFloat = std::is_same_v<T, BFloat16>;
  if (p.plan.kernel == Kernel::warpgroups) {
    kBFloat ? warpgroups_bf16(p, stream) : warpgroups_f16(p, stream);
  } else {
    kBFloat ? tensor_cores_bf16(p, stream) : tensor_cores_f16(p, stream);
  }
}

}  // namespace

void forward_cuda(const Matmul& op, Stream& stream) {
  check(op);
  if (op.out.size == 0) return;
  Parameters p{};
  p.a = op.a.data;
  p.b = op.b.data;
  p.out = op.out.data;
  p.m = op.m;
  p.n = op.n;
  p.k = op.k;
  p.batch = op.batch;
  p.a_starts = starts_of(op.a_offsets, op.m * op.k, stream);
  p.b_starts = starts_of(op.b_offsets, op.k * op.n, stream);
  p.transpose_a = op.transpose_a;
  p.transpose_b = op.transpose_b;
  p.accumulate = op.accumulate;
  const bool regular = !p.a_starts.at && !p.b_starts.at;
  if (regular &&
      multiply_by_library({op.out.dtype, p.a, p.b, p.out, p.m, p.n, p.k, p.batch, p.a_starts.step,
                           p.b_starts.step, p.transpose_a, p.transpose_b, p.accumulate},
                          stream)) {
    return;
  }
  p.a_packed = is_packed(op.a, op.a_offsets, op.transpose_a ? op.m : op.k);
  p.b_packed = is_packed(op.b, op.b_offsets, op.transpose_b ? op.k : op.n);
  p.out_packed = is_packed(op.out, {}, op.n);
  const Properties& device = stream.properties();
  p.plan = plan_matmul({op.out.dtype, op.m, op.n, op.k, op.batch, op.transpose_a, device.processors,
                        is_wide(p, device)});
  visit_float(op.out.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = accumulator_t<T>;
    if (p.plan.parts > 1) p.partials = stream.scratch<A>(p.plan.parts * op.out.size);
    if constexpr (std::is_same_v<T, float>) {
      p.plan.tile_m == kLargeTile ? plain<float, 8>(p, stream) : plain<float, 4>(p, stream);
    } else if constexpr (std::is_same_v<T, double>) {
      plain<double, 4>(p, stream);
    } else {
      tensor_cores<T>(p, stream);
    }
    if (p.plan.parts == 1) return;
    launch(stream, matmul_parts_kernel<T>, {ceil_div(op.out.size, kThreads), kThreads},
           static_cast<const A*>(p.partials), static_cast<T*>(op.out.data), op.out.size,
           p.plan.parts, op.accumulate);
  });
}

}  // namespace surprisal::matmul
