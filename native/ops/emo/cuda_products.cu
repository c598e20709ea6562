// Products of rows for the earth mover losses, norms of embeddings, labels and their rows. 2 m n k
// flop a product: 16-bit floats by mma.sync with float32 sums (cuda/gemm.h), the others by FMA
// (cuda/gemm_plain.h). Sums run over k in order whatever the tile, so that a row's bits do not
// depend on the others.
#include "cuda/gemm.h"
#include "cuda/gemm_plain.h"
#include "cuda/launch.h"
#include "ops/emo/device.h"

namespace surprisal::emo {
namespace {

using gemm::Major;

constexpr int kThreads = 256;
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// --- labels --------------------------------------------------------------------------------------

struct LabelWork {
  const void* target;
  DType dtype;
  int64_t rows, classes, ignore;
  int32_t* label;
  FaultSite fault;
};

__global__ void __launch_bounds__(kThreads) emo_labels_kernel(LabelWork work) {
  const int64_t n = block_index() * kThreads + thread_index();
  if (n >= work.rows) return;
  const int64_t y = work.dtype == DType::i64 ? load(static_cast<const int64_t*>(work.target) + n)
                                             : load(static_cast<const int32_t*>(work.target) + n);
  const bool inside = y >= 0 && y < work.classes;
  if (y != work.ignore && !inside) report_fault(work.fault, n, y, work.classes, work.ignore);
  store(work.label + n, y == work.ignore || !inside ? -1 : static_cast<int32_t>(y));
}

// --- norms and rows of labels --------------------------------------------------------------------

// A warp a row.
template <class T>
__global__ void __launch_bounds__(kThreads)
    emo_norms_kernel(const T* embedding, int64_t classes, int64_t width, accumulator_t<T>* out) {
  const int64_t v = block_index() * (kThreads / kWarp) + warp_index();
  if (v >= classes) return;
  accumulator_t<T> sum = 0;
  for (int64_t d = lane_index(); d < width; d += kWarp) {
    const accumulator_t<T> x = widened(load(embedding + v * width + d));
    sum += x * x;
  }
  sum = warp_sum(sum);
  if (lane_index() == 0)
    store(out + v, sum == 0 ? accumulator_t<T>(0)
                            : static_cast<accumulator_t<T>>(1 / std::sqrt(double(sum))));
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    emo_gather_kernel(const T* embedding, int64_t width, const accumulator_t<T>* inverse,
                      const int32_t* label, T* rows, accumulator_t<T>* scale) {
  const int64_t n = block_index();
  const int64_t y = load(label + n);
  for (int64_t d = thread_index(); d < width; d += kThreads)
    store(rows + n * width + d, y < 0 ? narrowed<T>(0) : load(embedding + y * width + d));
  if (thread_index() == 0) store(scale + n, y < 0 ? accumulator_t<T>(0) : load(inverse + y));
}

// --- products ------------------------------------------------------------------------------------

template <class A>
struct Scales {
  const A *row, *column;
  explicit Scales(const Product& p)
      : row(static_cast<const A*>(p.row_scale)), column(static_cast<const A*>(p.column_scale)) {}
  __device__ A at(int64_t m, int64_t n, A sum) const {
    if (row) sum *= load(row + m);
    return column ? sum * load(column + n) : sum;
  }
};

template <class T, int R>
__global__ void __launch_bounds__(gemm::kPlainThreads, 1)
    emo_product_plain_kernel(Product p, Scales<T> scales) {
  constexpr int kSide = gemm::kPlainSide * R;
  const gemm::TilePlace place(block_index(), ceil_div(p.m, kSide), ceil_div(p.n, kSide));
  const int64_t row = place.row * kSide, column = place.column * kSide;
  T sums[R][R] = {};
  gemm::multiply_plain<T, R>(sums, {p.a, p.width, p.m, true}, {p.b, p.width, p.n, true}, row,
                             column, 0, p.width, &shared<gemm::PlainStage<T, R>>());
#pragma unroll
  for (int i = 0; i < R; ++i)
#pragma unroll
    for (int j = 0; j < R; ++j) {
      const int64_t m = row + gemm::plain_place(i, thread_index() / gemm::kPlainSide);
      const int64_t n = column + gemm::plain_place(j, thread_index() % gemm::kPlainSide);
      if (m < p.m && n < p.n)
        store(static_cast<T*>(p.out) + m * p.stride + n, scales.at(m, n, sums[i][j]));
    }
}

// Without tensor cores for them (ptx_sm75.h) products need more registers.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
template <class Tile>
constexpr int kTensorBlocks = 1;
#else
template <class Tile>
constexpr int kTensorBlocks = Tile::kBlocks;
#endif

template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, kTensorBlocks<Tile>)
    emo_product_kernel(Product p, Scales<float> scales, bool packed) {
  const gemm::TilePlace place(block_index(), ceil_div(p.m, Tile::kM), ceil_div(p.n, Tile::kN));
  const int64_t row = place.row * Tile::kM, column = place.column * Tile::kN;
  const gemm::Operand<T> a{static_cast<const T*>(p.a), p.width, p.m, p.width, packed};
  const gemm::Operand<T> b{static_cast<const T*>(p.b), p.width, p.n, p.width, packed};
  gemm::Accumulators<Tile> sums;
  sums.clear();
  gemm::multiply_block<T, Tile, Major::k, Major::k>(sums, a, b, row, column, 0, p.width,
                                                    &shared<unsigned char>());
  sums.each([&](int i, int j, const float(&quad)[4][2]) {
    const int64_t m = row + i;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const int64_t n = column + j + 8 * (e / 2) + lane_index() % 4 * 2 + e % 2;
      if (m < p.m && n < p.n)
        store(static_cast<float*>(p.out) + m * p.stride + n, scales.at(m, n, quad[e / 2][e % 2]));
    }
  });
}

template <class T>
void multiply_plain(const Product& p, Stream& stream) {
  constexpr int R = 4;
  constexpr int kSide = gemm::kPlainSide * R;
  launch(
      stream, emo_product_plain_kernel<T, R>,
      {ceil_div(p.m, kSide) * ceil_div(p.n, kSide), gemm::kPlainThreads, gemm::kPlainShared<T, R>},
      p, Scales<T>(p));
}

template <class T>
void multiply_on_tensor_cores(const Product& p, Stream& stream) {
  const bool packed = gemm::is_packed(reinterpret_cast<uintptr_t>(p.a), p.width, p.width) &&
                      gemm::is_packed(reinterpret_cast<uintptr_t>(p.b), p.width, p.width);
  const auto by = [&](auto tile) {
    using Tile = decltype(tile);
    launch(stream, emo_product_kernel<T, Tile>,
           {ceil_div(p.m, Tile::kM) * ceil_div(p.n, Tile::kN), Tile::kThreads, Tile::kShared}, p,
           Scales<float>(p), packed);
  };
  p.m > gemm::Small::kM&& p.n > gemm::Small::kN ? by(gemm::Large{}) : by(gemm::Small{});
}

}  // namespace

RowContext context_of(const Rules& op, void (*raise_target)(const Fault&),
                      void (*raise_weight)(const Fault&), Stream& stream) {
  auto* const label = stream.scratch<int32_t>(op.rows);
  // In the order in which the CPU form looks at values.
  const LabelWork work{op.target.data,
                       op.target.dtype,
                       op.rows,
                       op.classes,
                       op.ignore_index,
                       label,
                       stream.fault_site(raise_target)};
  launch(stream, emo_labels_kernel, {ceil_div(op.rows, kThreads), kThreads}, work);
  auto* const loss = op.row_loss.as<double>();
  return {label,
          {op.token_weight, label, loss, 1, op.rows, static_cast<Reduction>(op.reduction),
           stream.fault_site(raise_weight)},
          nullptr,
          {},
          rules_of(op),
          loss};
}

const void* inverse_norms(const View& embedding, int64_t classes, int64_t width, Stream& stream) {
  const void* out = nullptr;
  visit_float(embedding.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    auto* const inverse = stream.scratch<accumulator_t<T>>(classes);
    launch(stream, emo_norms_kernel<T>, {ceil_div(classes, kThreads / kWarp), kThreads},
           embedding.as<T>(), classes, width, inverse);
    out = inverse;
  });
  return out;
}

void gather_labels(const View& embedding, int64_t width, const void* inverse, const int32_t* label,
                   int64_t count, const LabelRows& to, Stream& stream) {
  visit_float(embedding.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(stream, emo_gather_kernel<T>, {count, kThreads}, embedding.as<T>(), width,
           static_cast<const accumulator_t<T>*>(inverse), label, static_cast<T*>(to.rows),
           static_cast<accumulator_t<T>*>(to.scale));
  });
}

void multiply(const Product& p, Stream& stream) {
  switch (p.dtype) {
    case DType::f64:
      return multiply_plain<double>(p, stream);
    case DType::bf16:
      return multiply_on_tensor_cores<BFloat16>(p, stream);
    case DType::f16:
      return multiply_on_tensor_cores<Float16>(p, stream);
    default:
      return multiply_plain<float>(p, stream);
  }
}

}  // namespace surprisal::emo
