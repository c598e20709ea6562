// What a filter asks for around the products (filter.h). Bytes: 8 a row and tile of kFilterColumns
// classes, a sixteenth of a byte a logit; W and x once for their norms. At 8192 x 2304 x 256000 in
// bfloat16 1.4 GB, half a millisecond beside 12 for each product.
#include "ops/linear_cross_entropy/filter.h"

#include <cmath>
#include <limits>

#include "cuda/elements.h"
#include "ops/linear_cross_entropy/terms.h"

namespace surprisal::linear_cross_entropy {
namespace {

using namespace cuda;

constexpr int kThreads = 256;
constexpr int kJudgeThreads = static_cast<int>(kFilterRows);
constexpr int kManyThreads = 1024;
constexpr int kGroup = static_cast<int>(kFilterGroup);

// E features of a row at a time.
template <class T, int E>
__device__ inline void put_mean(const T* w, int64_t rows, int64_t width, T* mean) {
  using A = accumulator_t<T>;
  for (int64_t d = thread_index() * E; d < width; d += kThreads * E) {
    A sum[E] = {};
#pragma unroll 8
    for (int64_t r = 0; r < rows; ++r) {
      A x[E];
      load_elements(w + r * width + d, x);
#pragma unroll
      for (int e = 0; e < E; ++e) sum[e] += x[e];
    }
#pragma unroll
    for (int e = 0; e < E; ++e) sum[e] /= static_cast<A>(rows);
    store_elements(sum, mean + d);
  }
}
// A warp's sums of squares of a row, and of its distances from the mean.
template <class T, int E, class A>
__device__ inline void add_squares(const T* row, const T* mean, int64_t width, A* plain,
                                   A* centred) {
  for (int64_t d = lane_index() * E; d < width; d += kWarp * E) {
    A x[E], m[E];
    load_elements(row + d, x);
    load_elements(mean + d, m);
#pragma unroll
    for (int e = 0; e < E; ++e) {
      *plain += x[e] * x[e];
      *centred += (x[e] - m[e]) * (x[e] - m[e]);
    }
  }
}

// A block has a tile: its mean row, then the rows' distances from it, a warp a row at a time.
template <class T, int E>
__global__ void __launch_bounds__(kThreads, 3) linear_weight_facts_kernel(WeightFactsWork work) {
  using A = accumulator_t<T>;
  constexpr int kWarps = kThreads / kWarp;
  const int64_t tile = block_index(), first = tile * kFilterColumns;
  const int64_t left = work.classes - first, rows = left < kFilterColumns ? left : kFilterColumns;
  const T* const w = static_cast<const T*>(work.weight) + first * work.width;
  T* const mean = static_cast<T*>(work.mean_rows) + tile * work.width;
  put_mean<T, E>(w, rows, work.width, mean);
  sync_threads();  // the mean row is there
  WeightFacts facts{};
  for (int64_t r = warp_index(); r < rows; r += kWarps) {
    A plain = 0, centred = 0;
    add_squares<T, E>(w + r * work.width, mean, work.width, &plain, &centred);
    const double c = warp_sum(centred), p = warp_sum(plain);
    facts.centred_largest = c <= facts.centred_largest ? facts.centred_largest : c;
    facts.largest = p <= facts.largest ? facts.largest : p;
    facts.centred_norm += c;
    facts.norm += p;
    const double weight = work.class_weight.weight(first + r);
    facts.sum += weight;
    facts.root += weight * weight;
  }
  auto* warps = &shared<WeightFacts>();
  if (lane_index() == 0) store(warps + warp_index(), facts);
  sync_threads();  // the warps' facts are there
  if (thread_index() > 0) return;
  for (int i = 1; i < kWarps; ++i) {
    const WeightFacts other = load(warps + i);
    const auto larger_of = [](double a, double b) { return b <= a ? a : b; };
    facts.centred_largest = larger_of(facts.centred_largest, other.centred_largest);
    facts.largest = larger_of(facts.largest, other.largest);
    facts.centred_norm += other.centred_norm;
    facts.norm += other.norm;
    facts.sum += other.sum;
    facts.root += other.root;
  }
  store(work.facts + tile, WeightFacts{std::sqrt(facts.centred_largest),
                                       std::sqrt(facts.centred_norm), std::sqrt(facts.largest),
                                       std::sqrt(facts.norm), facts.sum, std::sqrt(facts.root)});
}

template <class T>
__global__ void __launch_bounds__(kThreads) linear_x_norms_kernel(NormsWork work) {
  using A = accumulator_t<T>;
  const int64_t first = block_index() * kFilterRows, left = work.wave.live() - first;
  const int64_t rows = left < kFilterRows ? left : kFilterRows;
  const T* const x = static_cast<const T*>(work.x) + first * work.stride;
  double sum = 0;
  for (int64_t n = warp_index(); n < rows; n += kThreads / kWarp) {
    A row = 0;
    for (int64_t d = lane_index(); d < work.stride; d += kWarp) {
      const A v = widened<A>(load(x + n * work.stride + d));
      row += v * v;
    }
    sum += row;
  }
  sum = warp_sum(sum);
  auto* warps = &shared<double>();
  if (lane_index() == 0) store(warps + warp_index(), sum);
  sync_threads();  // the warps' sums are there
  if (thread_index() > 0) return;
  for (int i = 1; i < kThreads / kWarp; ++i) sum += load(warps + i);
  store(work.norms + block_index(), std::sqrt(sum));
}

// The upstream gradient at which errors are meant.
__device__ inline double error_unit(const JudgeWork& work) {
  const double up = work.upstream ? std::fabs(work.upstream[0]) : 1;
  return up > 0 && up < std::numeric_limits<double>::infinity() ? up : 1;
}

// What one row says of a block; sums over rows but for the peak.
struct BlockFacts {
  double peak = 0;     // largest p off the target
  double error_x = 0;  // squares of the bound
  double squares = 0;  // of dz
};

template <class A>
struct JudgedRow {
  A p = 0, w = 0, max = 0;
  double inverse = 0;  // of the sum over all classes of e^(z - max); 0: the row moves nothing

  __device__ JudgedRow(const JudgeWork& work, int64_t n) {
    if (n >= work.wave.live()) return;
    const Slope<A> slope = load_slope<A>(work.slopes, n);
    p = slope.p;
    w = slope.w;
    if (p == 0 && w == 0) return;
    const RowState s = load(work.saved + load(work.kept.position + work.wave.first + n));
    max = static_cast<A>(s.max);
    inverse = 1 / (s.others + row_math::exp(s.target));
  }

  // mass: p mass of the tile.
  __device__ BlockFacts facts(const TileSums<A>& tile, const WeightFacts& of, A steep,
                              A* mass) const {
    // Sums are rounded like any others; the bound must not be.
    const double slack = 1 + 1e3 * double(std::numeric_limits<A>::epsilon());
    const A e = std::exp(tile.max - max);
    *mass = p == 0 ? A(0) : p * (e * tile.mass * steep);
    const double l1 = std::fabs(double(*mass));
    const double l2 =
        std::fabs(double(p)) * double(e) * double(steep) * std::sqrt(double(tile.mass));
    const double smooth = std::fabs(double(w)) * double(steep);
    const double error = slack * (fmin(l1 * of.centred_largest, l2 * of.centred_norm) +
                                  smooth * fmin(of.sum * of.largest, of.root * of.norm));
    const double norm = slack * (l2 + smooth * of.root);
    return {double(e) * inverse, error * error, norm * norm};
  }
};

// Thread k, of tile `tile`: whether its block is kept.
__device__ inline bool judge_block(const JudgeWork& work, int64_t block, int64_t tile,
                                   const BlockFacts& facts) {
  const int64_t first = block * kFilterRows, column = tile * kFilterColumns;
  const int64_t live = work.wave.live() - first, left = work.classes - column;
  const int64_t at = tile * work.stride + block;
  if (column >= round_to(work.classes, 2 * kFilterColumns)) return false;
  double dx = 0, dw = 0;
  bool kept = false;
  if (live > 0 && left > 0) {
    dx = std::sqrt(facts.error_x);
    dw = std::sqrt(facts.squares) * load(work.x_norms + block);
    const double part =
        double(live < kFilterRows ? live : kFilterRows) / double(load(work.kept.count));
    const double width =
        double(left < kFilterColumns ? left : kFilterColumns) / double(work.classes);
    const double error = work.max_error * error_unit(work);
    kept = !(work.eps >= 0
                 ? facts.peak < work.eps
                 : dx <= error * std::sqrt(part) * width && dw <= error * part * std::sqrt(width));
  }
  store(work.keep + at, static_cast<uint8_t>(kept ? Keep::kKept | Keep::kWritten : 0));
  store(work.costs + 2 * at, kept ? 0 : dx);
  store(work.costs + 2 * at + 1, kept ? 0 : dw);
  return kept;
}

__device__ inline void put_tail(const JudgeWork& work, int64_t n, int64_t tile,
                                const double (&m)[kGroup]) {
  store_elements(m, static_cast<double*>(work.tail) + n * work.tail_stride + tile);
}
__device__ inline void put_tail(const JudgeWork& work, int64_t n, int64_t tile,
                                const float (&m)[kGroup]) {
  const int64_t at = n * work.tail_stride + tile;
  work.dtype == DType::f16    ? store_elements(m, static_cast<Float16*>(work.tail) + at)
  : work.dtype == DType::bf16 ? store_elements(m, static_cast<BFloat16*>(work.tail) + at)
                              : store_elements(m, static_cast<float*>(work.tail) + at);
}

// A block has kFilterRows rows, a thread each, and kFilterGroup tiles.
template <class A>
__global__ void __launch_bounds__(kJudgeThreads) linear_judge_kernel(JudgeWork work) {
  constexpr int kWarps = kJudgeThreads / kWarp;
  const int64_t block = block_index() % work.row_blocks;
  const int64_t first_tile = work.first_tile + block_index() / work.row_blocks * kGroup;
  const int64_t n = block * kFilterRows + thread_index();
  const JudgedRow<A> row(work, n);
  const A steep = steepest<A>(work.map);
  auto* warps = &shared<BlockFacts>();  // (tiles, warps)
  A mass[kGroup];
#pragma unroll
  for (int k = 0; k < kGroup; ++k) {
    const int64_t tile = first_tile + k;
    mass[k] = 0;
    BlockFacts facts;
    if (row.inverse != 0 && tile * kFilterColumns < work.classes) {
      const auto* sums = static_cast<const TileSums<A>*>(work.tile_sums) + tile * work.tile_stride;
      facts = row.facts(load(sums + n), load(work.facts + tile), steep, mass + k);
    }
    facts = {warp_max(facts.peak), warp_sum(facts.error_x), warp_sum(facts.squares)};
    if (lane_index() == 0) store(warps + k * kWarps + warp_index(), facts);
  }
  sync_threads();  // the warps' facts are there
  auto* kept = reinterpret_cast<uint32_t*>(warps + kGroup * kWarps);
  if (thread_index() < kGroup) {
    BlockFacts facts = load(warps + thread_index() * kWarps);
    for (int i = 1; i < kWarps; ++i) {
      const BlockFacts other = load(warps + thread_index() * kWarps + i);
      // A row that is not a number is kept.
      facts.peak = other.peak <= facts.peak ? facts.peak : other.peak;
      facts.error_x += other.error_x;
      facts.squares += other.squares;
    }
    store(kept + thread_index(),
          uint32_t{judge_block(work, block, first_tile + thread_index(), facts)});
  }
  sync_threads();  // what is kept is known
  if (!work.tail || n >= work.wave.cleared()) return;
  const float unit = work.unit ? load(work.unit) : 1.0f;
#pragma unroll
  for (int k = 0; k < kGroup; ++k) mass[k] = load(kept + k) ? A(0) : mass[k] * unit;
  put_tail(work, n, first_tile, mass);
}

// Marks the groups of 2 x 2 blocks of which one is kept; a thread each.
__global__ void __launch_bounds__(kThreads) linear_keep_groups_kernel(JudgeWork work) {
  const int64_t pairs = work.row_blocks / 2, i = block_index() * kThreads + thread_index();
  const int64_t tile = work.first_tile + i / pairs * 2;
  if (i >= pairs * (work.tiles / 2) || tile * kFilterColumns >= work.classes) return;
  uint8_t* const at = work.keep + tile * work.stride + i % pairs * 2;
  uint8_t any = 0;
  for (int k = 0; k < 4; ++k) any |= load(at + k / 2 * work.stride + k % 2);
  if (!any) return;
  for (int k = 0; k < 4; ++k) {
    uint8_t* const block = at + k / 2 * work.stride + k % 2;
    store(block, static_cast<uint8_t>(load(block) | Keep::kWritten));
  }
}

// One block, a warp a block of rows at a time.
__global__ void __launch_bounds__(kManyThreads) linear_tally_kernel(JudgeWork work, Tally* tally) {
  const int64_t blocks = ceil_div(work.wave.live(), kFilterRows);
  const int64_t tiles = ceil_div(work.classes, kFilterColumns);
  Tally sum;
  for (int64_t block = warp_index(); block < blocks; block += kManyThreads / kWarp) {
    double kept = 0, dx = 0, dw = 0;
    for (int64_t tile = lane_index(); tile < tiles; tile += kWarp) {
      const int64_t at = tile * work.stride + block;
      kept += load(work.keep + at) & Keep::kKept;
      dx += load(work.costs + 2 * at);
      const double cost = load(work.costs + 2 * at + 1);
      dw += cost * cost;
    }
    const double row = warp_sum(dx);
    sum.kept += warp_sum(kept);
    sum.blocks += double(tiles);
    sum.error_x += row * row;
    sum.error_weight += std::sqrt(warp_sum(dw));
  }
  auto* warps = &shared<Tally>();
  if (lane_index() == 0) store(warps + warp_index(), sum);
  sync_threads();  // the warps' sums are there
  if (thread_index() > 0) return;
  Tally all = load(tally);
  for (int i = 0; i < kManyThreads / kWarp; ++i) {
    const Tally part = load(warps + i);
    all.kept += part.kept;
    all.blocks += part.blocks;
    all.error_x += part.error_x;
    all.error_weight += part.error_weight;
  }
  store(tally, all);
}

__global__ void __launch_bounds__(kWarp)
    linear_report_kernel(JudgeWork work, const Tally* tally, double* report) {
  if (thread_index() > 0) return;
  Tally all;
  if (tally) all = load(tally);
  const double unit = error_unit(work);
  store(report, all.blocks > 0 ? all.kept / all.blocks : 1.0);
  store(report + 1, std::sqrt(all.error_x) / unit);
  store(report + 2, all.error_weight / unit);
}

}  // namespace

void make_weight_facts(const WeightFactsWork& work, Stream& stream) {
  const Shape shape{ceil_div(work.classes, kFilterColumns), kThreads,
                    kThreads / kWarp * int64_t{sizeof(WeightFacts)}};
  visit_float(work.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const bool packed =
        work.width % kPack<T> == 0 && reinterpret_cast<uintptr_t>(work.weight) % 16 == 0;
    launch(stream,
           packed ? linear_weight_facts_kernel<T, kPack<T>> : linear_weight_facts_kernel<T, 1>,
           shape, work);
  });
}

void make_x_norms(const NormsWork& work, Stream& stream) {
  const Shape shape{ceil_div(work.wave.rows, kFilterRows), kThreads,
                    kThreads / kWarp * int64_t{sizeof(double)}};
  visit_float(work.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(stream, linear_x_norms_kernel<T>, shape, work);
  });
}

void judge(const JudgeWork& work, Stream& stream) {
  const int64_t shared =
      kGroup * (kJudgeThreads / kWarp * int64_t{sizeof(BlockFacts)} + int64_t{sizeof(uint32_t)});
  const Shape shape{work.row_blocks * (work.tiles / kGroup), kJudgeThreads, shared};
  work.dtype == DType::f64 ? launch(stream, linear_judge_kernel<double>, shape, work)
                           : launch(stream, linear_judge_kernel<float>, shape, work);
  if (!work.groups) return;
  const int64_t groups = work.row_blocks / 2 * (work.tiles / 2);
  launch(stream, linear_keep_groups_kernel, {ceil_div(groups, kThreads), kThreads}, work);
}

void add_tally(const JudgeWork& work, Tally* tally, Stream& stream) {
  launch(stream, linear_tally_kernel,
         {1, kManyThreads, kManyThreads / kWarp * int64_t{sizeof(Tally)}}, work, tally);
}

void write_report(const JudgeWork& work, const Tally* tally, double* report, Stream& stream) {
  launch(stream, linear_report_kernel, {1, kWarp}, work, tally, report);
}

}  // namespace surprisal::linear_cross_entropy
