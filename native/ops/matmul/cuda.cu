// Matrix products on the device, by dtype:
//   float16, bfloat16  float32 sums on tensor cores: 2 m n k flop at the rate of wgmma where there
//                      is one and rows start at multiples of 16 bytes (warpgroups.h), else of
//                      mma.sync (tensor_cores.h)
//   float32, float64   cuda/gemm_plain.h, exact arithmetic at the rate of FMA
// Small outputs with long sums are cut into parts along k (plan.h), which a second kernel adds in
// order: the same bits each run.
#include "cuda/cublaslt.h"
#include "cuda/gemm_plain.h"
#include "cuda/launch.h"
#include "ops/matmul/check.h"
#include "ops/matmul/launch.h"

namespace surprisal::matmul {
namespace {

using namespace cuda;

constexpr int kThreads = gemm::kPlainThreads;
static_assert(kPartStep % gemm::kPlainDepth == 0, "steps fill parts");

template <class T, int R>
__global__ void __launch_bounds__(kThreads, 1) matmul_plain_kernel(Parameters p) {
  const Place place(p, block_index());
  const gemm::PlainOperand a{static_cast<const T*>(p.a) + p.a_starts.of(place.pair),
                             p.transpose_a ? p.m : p.k, p.m, !p.transpose_a};
  const gemm::PlainOperand b{static_cast<const T*>(p.b) + p.b_starts.of(place.pair),
                             p.transpose_b ? p.k : p.n, p.n, p.transpose_b};
  T total[R][R] = {};
  gemm::multiply_plain<T, R>(total, a, b, place.row, place.column, place.begin, place.end,
                             &shared<gemm::PlainStage<T, R>>());
  const int y = thread_index() / gemm::kPlainSide, x = thread_index() % gemm::kPlainSide;
  const bool parts = p.plan.parts > 1;
  const int64_t matrix = p.m * p.n;
  T* out = parts ? static_cast<T*>(p.partials) + (place.part * p.batch + place.pair) * matrix
                 : static_cast<T*>(p.out) + place.pair * matrix;
#pragma unroll
  for (int i = 0; i < R; ++i)
#pragma unroll
    for (int j = 0; j < R; ++j) {
      const int64_t row = place.row + gemm::plain_place(i, y);
      const int64_t column = place.column + gemm::plain_place(j, x);
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
  launch(stream, matmul_plain_kernel<T, R>, {p.plan.blocks, kThreads, gemm::kPlainShared<T, R>}, p);
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
  if (starts.at || width >= gemm::kMostLines) return false;
  return starts.step == 0 ? lines < gemm::kMostLines
                          : starts.step == lines * width && lines * batch < gemm::kMostLines;
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
