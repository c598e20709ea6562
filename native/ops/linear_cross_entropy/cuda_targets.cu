// What the products leave to do: rows in the order of their targets, whose dz joins the sums of dW
// in float32 (beside it, up to 1, every p·x would be rounded away), dx's rounding and dbias. dx:
// one read of the sums, of a row of W, one write; dbias: one read of dz.
#include <algorithm>
#include <utility>

#include "ops/linear_cross_entropy/target_sums.h"
#include "ops/linear_cross_entropy/terms.h"

namespace surprisal::linear_cross_entropy {
namespace {

using namespace cuda;

constexpr int kThreads = 256;
constexpr uint64_t kNoKey = ~uint64_t{0};  // of rows that are not kept, or have no target here

// Each block sorts kThreads keys: the place of a key is how many are smaller.
__global__ void __launch_bounds__(kThreads) linear_key_kernel(Kept kept, uint64_t* keys) {
  auto* block = &shared<uint64_t>();
  const int t = thread_index();
  const int64_t n = block_index() * kThreads + t;
  uint64_t key = kNoKey;
  if (n < load(kept.count)) {
    const int32_t y = load(kept.target + n);
    if (y >= 0) key = static_cast<uint64_t>(y) << 32 | static_cast<uint64_t>(n);
  }
  store(block + t, key);
  sync_threads();  // all keys of the block are there
  int place = 0;
  for (int i = 0; i < kThreads; ++i) {
    const uint64_t other = load(block + i);
    place += other < key || (other == key && i < t);
  }
  const int64_t at = block_index() * kThreads + place;
  if (at < kept.most) store(keys + at, key);
}

__device__ inline int64_t count_smaller(const uint64_t* keys, int64_t count, uint64_t key,
                                        bool or_equal) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    const uint64_t other = load(keys + middle);
    if (other < key || (or_equal && other == key)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// Neighbouring sorted runs become one: a key's place is its own in its run and that in the other.
__global__ void __launch_bounds__(kThreads)
    linear_merge_keys_kernel(const uint64_t* from, uint64_t* to, int64_t count, int64_t run) {
  const int64_t i = block_index() * kThreads + thread_index();
  if (i >= count) return;
  const uint64_t key = load(from + i);
  const int64_t pair = i / (2 * run) * 2 * run;
  const bool second = i - pair >= run;
  const int64_t other = second ? pair : pair + run;
  const int64_t left = count - other;
  const int64_t others =
      left <= 0 ? 0 : count_smaller(from + other, left < run ? left : run, key, second);
  store(to + pair + (i - pair - (second ? run : 0)) + others, key);
}

__global__ void __launch_bounds__(kThreads)
    linear_starts_kernel(Kept kept, const uint64_t* keys, int64_t column, int64_t columns,
                         int64_t* starts) {
  const int64_t i = block_index() * kThreads + thread_index();
  if (i > columns) return;
  const uint64_t key = static_cast<uint64_t>(column + i) << 32;
  store(starts + i, count_smaller(keys, kept.most, key, false));
}

// A block has the features of one segment: it is that of the target of its last place, or none.
template <class T>
__global__ void __launch_bounds__(kThreads) linear_segments_kernel(SegmentWork work) {
  using A = accumulator_t<T>;
  const TargetRows& targets = work.targets;
  const int64_t most = targets.kept.most, place = block_index() * kTargetSegment;
  const uint64_t key = load(targets.keys + place + kTargetSegment - 1);
  if (key == kNoKey) return;
  const uint64_t target = key >> 32;
  const int64_t y = static_cast<int64_t>(target) - work.column;
  if (y < 0 || y >= work.columns) return;
  const int64_t begin = count_smaller(targets.keys, most, target << 32, false);
  const int64_t ahead = place < begin ? 0 : ceil_div(place - begin, kTargetSegment);
  const int64_t first = begin + ahead * kTargetSegment, end = first + kTargetSegment;
  if (end > most || load(targets.keys + end - 1) >> 32 != target) return;
  auto* rows = &shared<int64_t>();  // of x
  auto* dz = reinterpret_cast<A*>(rows + kTargetSegment);
  if (thread_index() < kTargetSegment) {
    const int64_t n = row_at(targets, first + thread_index());
    store(rows + thread_index(), targets.kept.row(load(targets.kept.position + n)));
    store(dz + thread_index(), load(static_cast<const A*>(targets.own_dz) + n));
  }
  sync_threads();  // rows and dz are there
  A* const to = targets.segment<A>(place);
  const T* const x = static_cast<const T*>(work.x);
  for (int64_t d = thread_index(); d < work.width; d += kThreads) {
    A sum = 0;
#pragma unroll 8
    for (int i = 0; i < kTargetSegment; ++i)
      sum += load(dz + i) * widened<A>(load(x + load(rows + i) * work.width + d));
    store(to + d, work.unit ? sum * static_cast<A>(load(work.unit)) : sum);
  }
  if (thread_index() > 0) return;
  A sum = 0;
  for (int i = 0; i < kTargetSegment; ++i) sum += load(dz + i);
  store(to + targets.segment_stride - 1, sum);
}

// A warp has a row: under a cap its logit, whose map tells how steep that is.
template <class T>
__global__ void __launch_bounds__(kThreads) linear_own_kernel(OwnWork work) {
  using A = accumulator_t<T>;
  const int64_t n = block_index() * (kThreads / kWarp) + warp_index();
  if (n >= load(work.kept.count)) return;
  const Slope<A> row = load_slope<A>(work.slopes, n);
  A logit = 0;
  if (work.map.capped && row.target >= 0) {
    const T* x =
        static_cast<const T*>(work.x) + work.kept.row(load(work.kept.position + n)) * work.width;
    const T* w = static_cast<const T*>(work.weight) + int64_t{row.target} * work.width;
    for (int64_t d = lane_index(); d < work.width; d += kWarp)
      logit += widened<A>(load(x + d)) * widened<A>(load(w + d));
    logit = warp_sum(logit);
    if (work.bias) logit += widened<A>(load(static_cast<const T*>(work.bias) + row.target));
  }
  A steep;
  DeviceMap<A>(work.map).value(logit, &steep);
  if (lane_index() == 0)
    store(static_cast<A*>(work.own_dz) + n, row.target < 0 ? A(0) : row.own * steep);
}

constexpr int64_t kRowsEach = 8;  // of a block

template <class T>
__global__ void __launch_bounds__(kThreads) linear_write_x_kernel(WriteX work) {
  using A = accumulator_t<T>;
  const A scale = one_over_unit<A>(work.unit);
  const int64_t first = block_index() * kRowsEach;
  const int64_t left = work.wave.live() - first, rows = left < kRowsEach ? left : kRowsEach;
  for (int64_t i = thread_index(); i < rows * work.width; i += kThreads) {
    const int64_t n = first + i / work.width, d = i % work.width;
    const int64_t kept = work.wave.first + n;
    const int32_t y = load(work.kept.target + kept);
    A x = load(static_cast<const A*>(work.sums) + n * work.sums_stride + d) * scale;
    if (y >= 0) {
      const T w = load(static_cast<const T*>(work.weight) + int64_t{y} * work.width + d);
      x += load(static_cast<const A*>(work.own_dz) + n) * widened<A>(w);
    }
    const int64_t row = work.kept.row(load(work.kept.position + kept));
    store(static_cast<T*>(work.out) + row * work.width + d, narrowed<T>(x));
  }
}

constexpr int kBiasColumns = 32;  // of a block, kThreads / 32 rows at a time

template <class T>
__global__ void __launch_bounds__(kThreads) linear_bias_kernel(BiasWork work) {
  using A = accumulator_t<T>;
  constexpr int kGroups = kThreads / kBiasColumns;
  const int64_t column = block_index() * kBiasColumns + lane_index();
  const int64_t live = work.wave.live();
  double sum = 0;
  if (column < work.columns) {
    const T* dz = static_cast<const T*>(work.dz) + column;
    for (int64_t n = warp_index(); n < live; n += kGroups)
      if (work.keep.kept(n, work.column + column))
        sum += widened<double>(load(dz + n * work.stride));
  }
  auto* sums = &shared<double>();
  store(sums + thread_index(), sum);
  sync_threads();  // the warps' sums are there
  if (warp_index() > 0 || column >= work.columns) return;
  for (int g = 1; g < kGroups; ++g) sum += load(sums + g * kBiasColumns + lane_index());
  if (work.carry) sum += load(work.sums + column);
  if (!work.last) return store(work.sums + column, sum);
  if (work.tail) {
    const int64_t tile = column / kFilterColumns, left = work.left - tile * kFilterColumns;
    sum += load(work.tail + tile) / double(left < kFilterColumns ? left : kFilterColumns);
  }
  sum *= one_over_unit<double>(work.unit);
  const int64_t end = load(work.targets.starts + column + 1);
  int64_t i = load(work.targets.starts + column);
  for (; i + kTargetSegment <= end; i += kTargetSegment)
    sum += load(work.targets.segment<A>(i) + work.targets.segment_stride - 1);
  for (; i < end; ++i)
    sum += load(static_cast<const A*>(work.targets.own_dz) + row_at(work.targets, i));
  store(static_cast<T*>(work.out) + column, narrowed<T>(static_cast<A>(sum)));
}

}  // namespace

uint64_t* sort_targets(const Kept& kept, uint64_t* keys, uint64_t* more, Stream& stream) {
  const Shape shape{ceil_div(kept.most, kThreads), kThreads};
  const int64_t shared = kThreads * int64_t{sizeof(uint64_t)};
  launch(stream, linear_key_kernel, {shape.blocks, kThreads, shared}, kept, keys);
  for (int64_t run = kThreads; run < kept.most; run *= 2) {
    launch(stream, linear_merge_keys_kernel, shape, keys, more, kept.most, run);
    std::swap(keys, more);
  }
  return keys;
}

void find_starts(const Kept& kept, const uint64_t* keys, int64_t column, int64_t columns,
                 int64_t* starts, Stream& stream) {
  launch(stream, linear_starts_kernel, {ceil_div(columns + 1, kThreads), kThreads}, kept, keys,
         column, columns, starts);
}

void sum_segments(const SegmentWork& work, Stream& stream) {
  const Shape shape{work.targets.kept.most / kTargetSegment, kThreads,
                    kTargetSegment * int64_t{sizeof(int64_t) + sizeof(double)}};
  visit_float(work.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(stream, linear_segments_kernel<T>, shape, work);
  });
}

void make_own_slopes(const OwnWork& work, Stream& stream) {
  const Shape shape{ceil_div(work.kept.most, kThreads / kWarp), kThreads};
  visit_float(work.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(stream, linear_own_kernel<T>, shape, work);
  });
}

void write_x(const WriteX& work, Stream& stream) {
  const Shape shape{ceil_div(work.wave.rows, kRowsEach), kThreads};
  visit_float(work.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(stream, linear_write_x_kernel<T>, shape, work);
  });
}

void add_bias(const BiasWork& work, Stream& stream) {
  const Shape shape{ceil_div(work.columns, kBiasColumns), kThreads,
                    kThreads * int64_t{sizeof(double)}};
  visit_float(work.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(stream, linear_bias_kernel<T>, shape, work);
  });
}

}  // namespace surprisal::linear_cross_entropy
