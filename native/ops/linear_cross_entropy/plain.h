// The kernels of float32 and float64: products by FMA (cuda/gemm_plain.h), exact arithmetic, and
// passes over the z of a chunk that they leave in the workspace: 2 N V D flop at the rate of FMA
// beside 3 N V numbers read and 2 N V written, little from D of a hundred on. FMA and not three
// products of bfloat16 halves on tensor cores: those keep 16 of the 24 bits of each factor and
// would be less accurate than float32 (six products of thirds would not).
#pragma once
#include "cuda/gemm_plain.h"
#include "ops/linear_cross_entropy/kinds.h"
#include "ops/linear_cross_entropy/target_sums.h"
#include "ops/linear_cross_entropy/terms.h"

namespace surprisal::linear_cross_entropy {

using namespace cuda;

constexpr int kWarps = 4;  // rows of a block in the passes over z
constexpr int kPassThreads = kWarps * kWarp;
constexpr int64_t kPart = 1024;  // classes
using KeptSteps = gemm::ListedSteps<kFilterColumns>;

// z = x·Wᵀ of a chunk.
struct LogitsWork {
  Logits z;
  void* out = nullptr;  // (rows, stride)
  int64_t stride = 0, column = 0, columns = 0;
  Keep keep;
};

template <class T, int R>
struct PlainBlock {
  static constexpr int kSide = gemm::kPlainSide * R;
  int64_t row, column;

  __device__ PlainBlock(int64_t rows, int64_t columns) {
    const gemm::TilePlace place(block_index(), ceil_div(rows, kSide), ceil_div(columns, kSide));
    row = place.row * kSide;
    column = place.column * kSide;
  }
  // Calls f(row, column, sum) for this thread's sums.
  template <class F>
  __device__ void each(T (&sums)[R][R], F&& f) const {
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
      for (int j = 0; j < R; ++j)
        f(row + gemm::plain_place(i, thread_index() / gemm::kPlainSide),
          column + gemm::plain_place(j, thread_index() % gemm::kPlainSide), sums[i][j]);
  }
};

template <class T, int R>
__global__ void __launch_bounds__(gemm::kPlainThreads, 1) linear_logits_kernel(LogitsWork work) {
  const Logits& z = work.z;
  const int64_t live = z.wave.live();
  const PlainBlock<T, R> block(z.wave.rows, work.columns);
  static_assert(PlainBlock<T, R>::kSide <= kFilterColumns, "of one block of a filter");
  if (block.row >= live || !work.keep.kept(block.row, work.column + block.column)) return;
  const auto* weight = static_cast<const T*>(z.weight) + work.column * z.width;
  T sums[R][R] = {};
  gemm::multiply_plain<T, R>(sums, {z.x, z.x_stride, live, true},
                             {weight, z.width, work.columns, true}, block.row, block.column, 0,
                             z.width, &shared<gemm::PlainStage<T, R>>());
  block.each(sums, [&](int64_t n, int64_t c, T sum) {
    if (n < live && c < work.columns) store(static_cast<T*>(work.out) + n * work.stride + c, sum);
  });
}

// Bias and class weight of a class.
template <class A>
struct PlainClasses {
  const A *bias, *weight;
  __device__ explicit PlainClasses(const Logits& z)
      : bias(static_cast<const A*>(z.bias)), weight(static_cast<const A*>(z.class_weight)) {}
  __device__ A bias_of(int64_t c) const { return bias ? load(bias + c) : A(0); }
  __device__ A weight_of(int64_t c) const { return weight ? load(weight + c) : A(1); }
};

// Of a warp's z, -inf where there is none, and their dz/dx.
template <class A, int E>
__device__ inline TileSums<A> tile_sums_of_warp(const A (&z)[E], const A (&slope)[E], A unit) {
  A max = kNone<A>, mass = 0;
#pragma unroll
  for (int e = 0; e < E; ++e) max = larger(z[e], max);
  max = warp_max(max);
  const A shift = max == kNone<A> ? A(0) : max;
#pragma unroll
  for (int e = 0; e < E; ++e)
    if (z[e] != kNone<A>) mass += std::exp(z[e] - shift) * slope[e] * unit;
  return {max, warp_sum(mass)};
}

// A warp reads one row's z of one span.
template <class A>
__global__ void __launch_bounds__(kPassThreads, 2)
    linear_pass_states_kernel(StatesWork work, int64_t first_span, int64_t spans) {
  const int64_t n = block_index() / spans * kWarps + warp_index();
  const int64_t span = block_index() % spans;
  if (n >= work.z.wave.live()) return;
  const int64_t begin = (first_span + span) * work.span;
  const int64_t left = work.z.classes - begin;
  const int64_t count = left < work.span ? left : work.span;
  const A* z = static_cast<const A*>(work.chunk) + n * work.columns + span * work.span;
  const PlainClasses<A> classes(work.z);
  const DeviceMap<A> map(work.z.map);
  const int64_t own = load(work.z.target + n) - begin;
  RowSoFar<A> row;
  A weights = 0;
  constexpr int E = 4;
  const auto place = [](int e) { return e * kWarp; };
  static_assert(E * kWarp == kFilterColumns, "a tile at a time");
  for (int64_t tile = 0; tile < count; tile += kFilterColumns) {
    const int64_t first = tile + lane_index();
    A v[E], w[E], slope[E], sum = 0;
#pragma unroll
    for (int e = 0; e < E; ++e) {
      const int64_t i = first + e * kWarp;
      const bool inside = i < count;
      v[e] = inside ? map.value(load(z + i) + classes.bias_of(begin + i), slope + e) : kNone<A>;
      w[e] = inside ? classes.weight_of(begin + i) : A(0);
      sum += w[e];
      if (i == own && inside) store(static_cast<A*>(work.target_z) + n, v[e]);
    }
    const int64_t ahead = own - first;
    const bool here = ahead >= 0 && ahead % kWarp == 0 && ahead < E * kWarp;
    const int at = here ? static_cast<int>(ahead / kWarp) : -1;
    row.template add<false>(v, at, work.extra, w, weights, static_cast<int>(first), place);
    weights += sum;
    if (!work.tile_sums) continue;
#pragma unroll
    for (int e = 0; e < E; ++e)
      if (e == at) v[e] = kNone<A>;
    const TileSums<A> sums = tile_sums_of_warp(v, slope, 1 / steepest<A>(work.z.map));
    if (lane_index() == 0) store(tile_sums_at<A>(work, n, begin + tile), sums);
  }
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    RowSoFar<A> other;
    other.max = shuffle_xor(row.max, step);
    other.others = shuffle_xor(row.others, step);
    other.extra = shuffle_xor(row.extra, step);
    const A other_weights = shuffle_xor(weights, step);
    // Only lane 0's result counts, so no two lanes need agree.
    row.merge(other, work.extra, weights, other_weights);
    weights += other_weights;
  }
  if (lane_index() > 0) return;
  store(static_cast<SpanState<A>*>(work.states) + (first_span + span) * work.z.wave.rows + n,
        SpanState<A>{row.max, row.others, row.extra, weights});
}

// z of a chunk becomes dz. A warp has kPart classes of a row.
template <class A>
__global__ void __launch_bounds__(kPassThreads, 2) linear_pass_slopes_kernel(SlopesWork work) {
  const int64_t parts = ceil_div(work.columns, kPart);
  const int64_t n = block_index() / parts * kWarps + warp_index();
  if (n >= work.z.wave.live()) return;
  const int64_t begin = block_index() % parts * kPart;
  const int64_t end = begin + kPart < work.columns ? begin + kPart : work.columns;
  const Slope<A> row = load_slope<A>(work.slopes, n);
  const PlainClasses<A> classes(work.z);
  const SlopeTerms<A> terms(work);
  A* z = static_cast<A*>(work.dz) + n * work.stride;
  for (int64_t i = begin + lane_index(); i < end; i += kWarp) {
    const int64_t c = work.column + i;
    if (!work.keep.kept(n, c)) continue;
    const A x = load(z + i) + classes.bias_of(c);
    if (c == row.target) {
      store(static_cast<A*>(work.own_dz) + n, terms.own(row, x));
      store(z + i, A(0));
    } else {
      store(z + i, terms.slope(row, x, classes.weight_of(c)));
    }
  }
}

template <class T, int R>
__global__ void __launch_bounds__(gemm::kPlainThreads, 1) linear_plain_x_kernel(ProductX p) {
  const int64_t live = p.wave.live();
  const PlainBlock<T, R> block(p.wave.rows, p.width);
  if (block.row >= live) return;
  T* const to = static_cast<T*>(p.sums);
  const auto* weight = static_cast<const T*>(p.weight) + p.column * p.width;
  T sums[R][R];
  block.each(sums, [&](int64_t n, int64_t d, T& sum) {
    sum = p.carry && n < live && d < p.width ? load(to + n * p.sums_stride + d) : T(0);
  });
  gemm::multiply_plain<T, R>(sums, {p.dz, p.stride, live, true}, {weight, p.width, p.width, false},
                             block.row, block.column, 0, p.columns,
                             &shared<gemm::PlainStage<T, R>>(),
                             KeptSteps{p.classes.of(block.row / kFilterRows)});
  block.each(sums, [&](int64_t n, int64_t d, T& sum) {
    if (n < live && d < p.width) store(to + n * p.sums_stride + d, sum);
  });
}

template <class T, int R>
__global__ void __launch_bounds__(gemm::kPlainThreads, 1) linear_plain_w_kernel(ProductW p) {
  const int64_t live = p.wave.live();
  const PlainBlock<T, R> block(p.columns, p.width);
  T sums[R][R] = {};
  gemm::multiply_plain<T, R>(sums, {p.dz, p.stride, p.columns, false},
                             {p.x, p.x_stride, p.width, false}, block.row, block.column, 0, live,
                             &shared<gemm::PlainStage<T, R>>(),
                             KeptSteps{p.rows.of(block.row / kFilterColumns)});
  const int y = thread_index() / gemm::kPlainSide, x = thread_index() % gemm::kPlainSide;
#pragma unroll
  for (int i = 0; i < R; ++i)
    WeightRow<T>(p, block.row + gemm::plain_place(i, y)).put(sums[i], block.column, [x](int j) {
      return gemm::plain_place(j, x);
    });
}

// Calls by(R) with the R of 64 x 64 or 128 x 128 tiles.
template <class T, class F>
void with_tile(const Tiles& tiles, int64_t m, int64_t n, F&& by) {
  if constexpr (std::is_same_v<T, float>)
    if (tiles.large(m, n)) return by(std::integral_constant<int, 8>{});
  by(std::integral_constant<int, 4>{});
}
template <class T, int R>
Shape plain_shape(int64_t m, int64_t n) {
  const int64_t side = gemm::kPlainSide * R;
  return {ceil_div(m, side) * ceil_div(n, side), gemm::kPlainThreads, gemm::kPlainShared<T, R>};
}

template <class T>
void make_logits(const LogitsWork& work, const Tiles& tiles, Stream& stream) {
  with_tile<T>(tiles, work.z.wave.rows, work.columns, [&](auto r) {
    constexpr int R = decltype(r)::value;
    launch(stream, linear_logits_kernel<T, R>, plain_shape<T, R>(work.z.wave.rows, work.columns),
           work);
  });
}

template <class T>
void plain_states(const StatesWork& work, const Tiles& tiles, Stream& stream) {
  for (int64_t column = 0; column < work.z.classes; column += work.columns) {
    const int64_t columns = std::min(work.columns, work.z.classes - column);
    make_logits<T>({work.z, work.chunk, work.columns, column, columns, {}}, tiles, stream);
    const int64_t spans = ceil_div(columns, work.span);
    launch(stream, linear_pass_states_kernel<T>,
           {ceil_div(work.z.wave.rows, kWarps) * spans, kPassThreads}, work, column / work.span,
           spans);
  }
}

template <class T>
void plain_slopes(const SlopesWork& work, const Tiles& tiles, Stream& stream) {
  make_logits<T>({work.z, work.dz, work.stride, work.column, work.columns, work.keep}, tiles,
                 stream);
  launch(stream, linear_pass_slopes_kernel<T>,
         {ceil_div(work.z.wave.rows, kWarps) * ceil_div(work.columns, kPart), kPassThreads}, work);
}

template <class T>
void plain_product_x(const ProductX& p, const Tiles& tiles, Stream& stream) {
  with_tile<T>(tiles, p.wave.rows, p.width, [&](auto r) {
    constexpr int R = decltype(r)::value;
    launch(stream, linear_plain_x_kernel<T, R>, plain_shape<T, R>(p.wave.rows, p.width), p);
  });
}

template <class T>
void plain_product_w(const ProductW& p, const Tiles& tiles, Stream& stream) {
  with_tile<T>(tiles, p.columns, p.width, [&](auto r) {
    constexpr int R = decltype(r)::value;
    launch(stream, linear_plain_w_kernel<T, R>, plain_shape<T, R>(p.columns, p.width), p);
  });
}

}  // namespace surprisal::linear_cross_entropy
