// Which rows are kept, sums over rows and classes, and the rows' x in one place. All of it reads
// and writes a few bytes a row but for `gather`, which moves 2 N D elements where the products
// multiply N V D: at V of a hundred thousand less than a thousandth of the time.
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/linear_cross_entropy/rows_device.h"

namespace surprisal::linear_cross_entropy {
namespace {

using namespace cuda;

constexpr int kThreads = 256;
constexpr int kManyThreads = 1024;

// One block, so that the order is that of the rows: the places of a step's rows are a scan.
__global__ void __launch_bounds__(kManyThreads) linear_keep_kernel(KeepWork work) {
  const Kept& kept = work.kept;
  auto* totals = &shared<int32_t>();  // of each warp
  const int warps = block_size() / kWarp;
  int64_t base = 0;
  for (int64_t begin = 0; begin < kept.most; begin += block_size()) {
    const int64_t position = begin + thread_index();
    bool keep = false;
    int64_t own = -1;
    if (position < kept.most && !work.target) {
      keep = true;
    } else if (position < kept.most) {
      const int64_t from = kept.row(position) + kept.shift;
      const int64_t c = work.dtype == DType::i64
                            ? load(static_cast<const int64_t*>(work.target) + from)
                            : load(static_cast<const int32_t*>(work.target) + from);
      const bool bad = c < 0 || (!work.shard && c >= work.classes);
      keep = c != work.ignore && !bad;
      if (c != work.ignore && bad)
        report_fault(work.fault, from, c, work.shard ? 0 : work.classes, work.ignore);
      own = c - work.offset;
      if (own < 0 || own >= work.classes) own = -1;
    }
    int32_t place = keep;
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const int32_t other = shuffle_up(place, step);
      if (lane_index() >= step) place += other;
    }
    if (lane_index() == kWarp - 1) store(totals + warp_index(), place);
    sync_threads();  // the warps' totals are there
    int64_t before = base;
    for (int w = 0; w < warps; ++w) {
      const int32_t count = load(totals + w);
      if (w < warp_index()) before += count;
      base += count;
    }
    if (keep) {
      store(kept.position + before + place - 1, position);
      store(kept.target + before + place - 1, static_cast<int32_t>(own));
    }
    sync_threads();  // everybody has read the totals
  }
  if (thread_index() == 0) store(kept.count, base);
}

__device__ inline int64_t bits_of_double(double x) {
  int64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

__device__ inline void add_totals(Totals& into, const Totals& from) {
  into.denominator += from.denominator;
  into.classes += from.classes;
  into.loss += from.loss;
  into.largest = from.largest > into.largest ? from.largest : into.largest;
}

// Over the block, in a fixed tree; the sum is thread 0's.
__device__ inline Totals block_total(Totals x) {
  auto* warps = &shared<Totals>();
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    add_totals(x, {shuffle_down(x.denominator, step), shuffle_down(x.classes, step),
                   shuffle_down(x.largest, step), shuffle_down(x.loss, step)});
  }
  if (lane_index() == 0) store(warps + warp_index(), x);
  sync_threads();  // the warps' sums are there
  if (thread_index() > 0) return {};
  for (int w = 1; w < block_size() / kWarp; ++w) add_totals(x, load(warps + w));
  return x;
}

__device__ inline void write_totals(const TotalsWork& work, const Totals& totals) {
  store(work.totals, totals);
  if (!work.loss) return;
  const double none = std::numeric_limits<double>::quiet_NaN();
  work.loss.set(0, work.reduction != Reduction::mean ? totals.loss
                   : totals.denominator == 0         ? none
                                                     : totals.loss / totals.denominator);
}

// Indices within the segment are ints: what lives across the calls that read weights has few
// registers.
__global__ void __launch_bounds__(kThreads) linear_totals_kernel(TotalsWork work) {
  const Kept& kept = work.kept;
  const auto each = [](int64_t count, auto body) {
    const int64_t rest = count - block_index() * kSegment;
    const int end = static_cast<int>(rest < kSegment ? rest : kSegment);
    for (int i = thread_index(); i < end; i += kThreads) body(block_index() * kSegment + i);
  };
  Totals sum;
  each(load(kept.count), [&](int64_t n) {
    const int64_t source = kept.row(load(kept.position + n)) + kept.shift;
    const double tokens = work.token_weight.weight(source);
    if (work.row_loss) sum.loss += tokens * load(work.row_loss + n);
    sum.denominator += work.class_weight.weight(load(kept.target + n)) * tokens;
  });
  each(work.tokens, [&](int64_t i) {
    if (std::isnan(work.token_weight[i])) report_fault(work.token_fault, i, 0, 0, 0);
  });
  each(work.classes, [&](int64_t c) {
    const double w = work.class_weight[c];
    if (!(w >= 0)) report_fault(work.class_fault, c, bits_of_double(w), 0, 0);
    if (work.widened) work.widened.set(c, w);
    add_totals(sum, {0, w, w, 0});
  });
  sum = block_total(sum);
  if (thread_index() > 0) return;
  grid_size() == 1 ? write_totals(work, sum) : store(work.partial + block_index(), sum);
}

// The segments' sums, in their order within each thread.
__global__ void __launch_bounds__(kThreads)
    linear_totals_merge_kernel(TotalsWork work, int64_t segments) {
  Totals sum;
  for (int64_t i = thread_index(); i < segments; i += kThreads)
    add_totals(sum, load(work.partial + i));
  sum = block_total(sum);
  if (thread_index() == 0) write_totals(work, sum);
}

constexpr int64_t kRowsEach = 8;  // of a block

// U: unsigned numbers as wide as an element, or 16 bytes of them.
template <class U>
__global__ void __launch_bounds__(kThreads)
    linear_gather_kernel(Kept kept, Wave wave, const U* x, int64_t width, U* to, int64_t stride) {
  const int64_t live = wave.live();
  const int64_t padded = round_to(live, kClearedRows),
                most = padded < wave.rows ? padded : wave.rows;
  const int64_t first = block_index() * kRowsEach;
  const int64_t left = most - first, rows = left < kRowsEach ? left : kRowsEach;
  for (int64_t i = thread_index(); i < rows * stride; i += kThreads) {
    const int64_t n = first + i / stride, d = i % stride;
    U element{};
    if (n < live && d < width)
      element = load(x + kept.row(load(kept.position + wave.first + n)) * width + d);
    store(to + n * stride + d, element);
  }
}

template <class A>
__global__ void __launch_bounds__(kThreads) linear_none_kernel(A* to, int64_t count) {
  const int64_t i = block_index() * kThreads + thread_index();
  if (i < count) store(to + i, -std::numeric_limits<A>::infinity());
}

}  // namespace

void keep_rows(const KeepWork& work, Stream& stream) {
  const int threads = work.kept.most > 4 * kThreads ? kManyThreads : kThreads;
  launch(stream, linear_keep_kernel, {1, threads, kWarp * int64_t{sizeof(int32_t)}}, work);
}

void add_up(const TotalsWork& work, Stream& stream) {
  const int64_t most = std::max({int64_t{1}, work.kept.most, work.tokens, work.classes});
  const int64_t segments = ceil_div(most, kSegment);
  const int64_t shared = kThreads / kWarp * int64_t{sizeof(Totals)};
  launch(stream, linear_totals_kernel, {segments, kThreads, shared}, work);
  if (segments > 1)
    launch(stream, linear_totals_merge_kernel, {1, kThreads, shared}, work, segments);
}

void fill_none(DType dtype, void* to, int64_t count, Stream& stream) {
  const Shape shape{ceil_div(count, kThreads), kThreads};
  dtype == DType::f64
      ? launch(stream, linear_none_kernel<double>, shape, static_cast<double*>(to), count)
      : launch(stream, linear_none_kernel<float>, shape, static_cast<float*>(to), count);
}

void gather(DType dtype, const Kept& kept, const Wave& wave, const void* x, int64_t width, void* to,
            int64_t stride, Stream& stream) {
  const Shape shape{ceil_div(wave.rows, kRowsEach), kThreads};
  const auto by = [&](auto u, int64_t elements) {
    using U = decltype(u);
    launch(stream, linear_gather_kernel<U>, shape, kept, wave, static_cast<const U*>(x),
           width / elements, static_cast<U*>(to), stride / elements);
  };
  const int64_t bytes = size_of(dtype);
  const bool aligned = reinterpret_cast<uintptr_t>(x) % 16 == 0 && width * bytes % 16 == 0;
  if (aligned) return by(Pack<uint32_t, 4>{}, 16 / bytes);
  bytes == 2 ? by(uint16_t{}, 1) : bytes == 4 ? by(uint32_t{}, 1) : by(uint64_t{}, 1);
}

}  // namespace surprisal::linear_cross_entropy
