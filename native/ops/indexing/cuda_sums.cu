// Sums at indices on the device, in order of j: they have the bits of the CPU's, each run. Floor:
// one read of what is added, one write of the sums.
//   SelectAdd   indices listed by destination (sort_chunk), then one pass that sums each
//               destination's rows in registers
//   ScatterAdd  short lines: the first index of a destination sums for all; long lines: listed by
//               destination as above
// The list reads all indices once a block of destinations: beyond about 10^6 indices into 10^6
// places a radix sort would win. A bad index is reported and adds nothing.
#include "ops/indexing/device_index.h"

namespace surprisal::indexing {
namespace {

// Integers wrap: they are summed as their unsigned twins.
template <class T>
struct Sum {
  using type = typename std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>,
                                           Accumulator<T>>::type;
};
template <class T>
using sum_t = typename Sum<T>::type;

template <class T>
__device__ inline sum_t<T> wide(T x) {
  if constexpr (std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>) {
    return to_float(x);
  } else {
    return static_cast<sum_t<T>>(x);
  }
}
template <class T>
__device__ inline T narrow(sum_t<T> x) {
  if constexpr (std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>) {
    return from_float<T>(x);
  } else {
    return static_cast<T>(x);
  }
}

// Lines of n indices into `size` destinations each.
struct Lines {
  Index index;
  Axes<2> outer;  // of a line: strides in the index array and in the whole one
  Axis<2> along;
  int64_t size, skip;
  SortPlan plan;
  int64_t* order;  // (lines, n): the positions j of a line by destination, in order within one
};

struct SortShared {
  uint64_t below[kWarps];
  uint32_t total[kWarps];
};
// Behind it: (kWarps, destinations).
__device__ inline uint32_t* shared_counts() {
  return reinterpret_cast<uint32_t*>(&shared<SortShared>() + 1);
}

// What is in the lines before `chunk` of destinations, and where this chunk's positions end.
struct Listed {
  int64_t base;          // of the chunk, in `order` of the line
  const uint32_t* ends;  // by destination of the chunk, from base on
  int64_t index_at, whole_at;
};

__device__ inline uint32_t count_bits(uint32_t x) {
#if defined(__CUDA_ARCH__)
  return static_cast<uint32_t>(__popc(x));
#else
  return static_cast<uint32_t>(__builtin_popcount(x));
#endif
}

// Turns the counts of each warp into where its first position of a destination goes.
__device__ inline void scan_counts(int destinations) {
  SortShared& s = shared<SortShared>();
  uint32_t* counts = shared_counts();
  const int each = destinations / kThreads, from = thread_index() * each;
  uint32_t own = 0;
  for (int d = from; d < from + each; ++d)
    for (int w = 0; w < kWarps; ++w) own += load(counts + w * destinations + d);
  uint32_t before = own;
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const uint32_t left = shuffle_up(before, step);
    if (lane_index() >= step) before += left;
  }
  if (lane_index() == kWarp - 1) store(&s.total[warp_index()], before);
  before -= own;
  sync_threads();  // totals are there
  for (int w = 0; w < warp_index(); ++w) before += load(&s.total[w]);
  for (int d = from; d < from + each; ++d) {
    for (int w = 0; w < kWarps; ++w) {
      uint32_t* at = counts + w * destinations + d;
      const uint32_t n = load(at);
      store(at, before);
      before += n;
    }
  }
}

// The block lists the positions of its chunk of destinations. Each warp takes one stretch of the
// line: counted first, then placed behind those of the warps before it.
__device__ inline Listed sort_chunk(const Lines& p, int64_t line, int64_t chunk) {
  SortShared& s = shared<SortShared>();
  const int destinations = p.plan.destinations;
  const int64_t first = chunk * destinations, n = p.along.n;
  int64_t base[2] = {0, 0};
  add_offsets(p.outer, line, base);
  for (int i = thread_index(); i < kWarps * destinations; i += kThreads)
    store(shared_counts() + i, 0u);
  sync_threads();  // before counting
  uint32_t* counts = shared_counts() + warp_index() * destinations;
  const int64_t stretch = (n + kThreads - 1) / kThreads * kWarp;
  const int64_t begin = warp_index() * stretch;
  const int64_t end = begin + stretch < n ? begin + stretch : n;
  uint64_t below = 0;
  for (int64_t j = begin + lane_index(); j < end; j += kWarp) {
    const int64_t position = base[0] + j * p.along.stride[0];
    const int64_t d = p.index.at(position);
    if (!p.index.fits(d)) {
      if (chunk == 0) p.index.report(position, d);
    } else if (d != p.skip && d < first) {
      ++below;
    } else if (d != p.skip && d < first + destinations) {
      atomic_add(&counts[d - first], 1u);
    }
  }
  below = warp_sum(below);
  if (lane_index() == 0) store(&s.below[warp_index()], below);
  sync_threads();  // counts and `below` are complete
  int64_t start = 0;
  for (int w = 0; w < kWarps; ++w) start += static_cast<int64_t>(load(&s.below[w]));
  scan_counts(destinations);
  sync_threads();  // before placing
  for (int64_t tile = begin; tile < end; tile += kWarp) {
    const int64_t j = tile + lane_index();
    const int64_t d = j < end ? p.index.at(base[0] + j * p.along.stride[0]) : -1;
    const bool ours = p.index.fits(d) && d != p.skip && d >= first && d < first + destinations;
    uint32_t peers = ballot(ours);
    if (peers == 0) continue;
    const uint32_t key = ours ? static_cast<uint32_t>(d - first) : 0;
    for (int bit = 1; bit < destinations; bit *= 2) {
      const uint32_t set = ballot((key & bit) != 0);
      peers &= (key & bit) != 0 ? set : ~set;
    }
    const uint32_t rank = count_bits(peers & ((1u << lane_index()) - 1));
    const uint32_t at = ours ? load(&counts[key]) : 0;
    if (ours) store(p.order + line * n + start + at + rank, j);
    sync_warp();  // every peer has read the count
    if (ours && rank == 0) store(&counts[key], at + count_bits(peers));
    sync_warp();  // before the next tile reads it
  }
  sync_threads();  // the list is complete, and the last warp's counts are ends
  return {start, shared_counts() + (kWarps - 1) * destinations, base[0], base[1]};
}

__global__ void __launch_bounds__(kThreads) index_sort_kernel(Lines p, int64_t* start) {
  const int64_t chunk = block_index();
  const Listed listed = sort_chunk(p, 0, chunk);
  if (chunk == 0 && thread_index() == 0) store(start, int64_t{0});
  for (int i = thread_index(); i < p.plan.destinations; i += kThreads) {
    const int64_t d = chunk * p.plan.destinations + i;
    if (d < p.size) store(start + d + 1, listed.base + int64_t{load(listed.ends + i)});
  }
}

struct SelectAddRows {
  const void* grad_out;
  void* grad;
  const int64_t *start, *order;
  int64_t rows, n, size, units;  // grad is (rows = outer size, units)
  RowPlan plan;
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads) index_select_add_kernel(SelectAddRows p) {
  using Unit = Pack<T, N>;
  constexpr int kAhead = 4;  // rows in flight
  const Place place(p.plan, p.units);
  if (place.row >= p.rows) return;
  const int64_t outer = p.rows > p.size ? place.row / p.size : 0;
  const int64_t s = place.row - outer * p.size;
  const int64_t begin = load(p.start + s), end = load(p.start + s + 1);
  for (int64_t i = place.first; i < place.end; i += p.plan.lanes) {
    const Unit* from = static_cast<const Unit*>(p.grad_out) + outer * p.n * p.units + i;
    sum_t<T> sum[N] = {};
    for (int64_t k = begin; k < end; k += kAhead) {
      Unit row[kAhead] = {};
#pragma unroll
      for (int r = 0; r < kAhead; ++r)
        if (k + r < end) row[r] = load(from + load(p.order + k + r) * p.units);
#pragma unroll
      for (int r = 0; r < kAhead; ++r)
        if (k + r < end)
#pragma unroll
          for (int e = 0; e < N; ++e) sum[e] += wide(row[r].at[e]);
    }
    Unit to;
#pragma unroll
    for (int e = 0; e < N; ++e) to.at[e] = narrow<T>(sum[e]);
    store(static_cast<Unit*>(p.grad) + place.row * p.units + i, to);
  }
}

// --- ScatterAdd ----------------------------------------------------------------------------------

struct ScatterPlaces : Places {
  const void* src;
  void* out;
  int64_t n, index_step;  // indices of a line, their distance
};

// The first of the equal indices of a line adds for all of them.
template <class T>
__global__ void __launch_bounds__(kThreads) scatter_add_kernel(ScatterPlaces p) {
  const Place place(p.plan, p.width);
  if (place.row >= p.rows) return;
  int64_t base[1] = {0};
  add_offsets(p.outer, place.row, base);
  for (int64_t i = place.first; i < place.end; i += p.plan.lanes) {
    const int64_t position = place.row * p.width + i;
    const int64_t at = p.index.checked(position);
    const int64_t j = position / p.index_step % p.n;
    const int64_t line = position - j * p.index_step;
    bool first = at >= 0;
    for (int64_t e = 0; e < j && first; ++e) first = p.index.at(line + e * p.index_step) != at;
    if (!first) continue;
    T* to = static_cast<T*>(p.out) + base[0] + i * p.column + at * p.step;
    const T* src = static_cast<const T*>(p.src) + line;
    sum_t<T> sum = wide(load(to));
    sum += wide(load(src + j * p.index_step));
    for (int64_t e = j + 1; e < p.n; ++e)
      if (p.index.at(line + e * p.index_step) == at) sum += wide(load(src + e * p.index_step));
    store(to, narrow<T>(sum));
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    scatter_add_sorted_kernel(Lines p, const T* src, T* out) {
  const int64_t line = block_index() / p.plan.chunks, chunk = block_index() % p.plan.chunks;
  const Listed listed = sort_chunk(p, line, chunk);
  const int64_t* order = p.order + line * p.along.n + listed.base;
  for (int i = thread_index(); i < p.plan.destinations; i += kThreads) {
    const uint32_t begin = i > 0 ? load(listed.ends + i - 1) : 0, end = load(listed.ends + i);
    if (begin == end) continue;
    const int64_t d = chunk * p.plan.destinations + i;
    T* to = out + listed.whole_at + d * p.along.stride[1];
    sum_t<T> sum = wide(load(to));
    for (uint32_t k = begin; k < end; ++k)
      sum += wide(load(src + listed.index_at + load(order + k) * p.along.stride[0]));
    store(to, narrow<T>(sum));
  }
}

// --- launch --------------------------------------------------------------------------------------

template <class T>
void scatter_add_as(const ScatterAdd& op, Stream& stream) {
  const int64_t n = op.index_shape[op.dim], size = op.shape[op.dim];
  const Dims index = strides_of(op.index_shape), whole = strides_of(op.shape);
  if (scatter_compares(n, size)) {
    const ScatterPlaces p{
        places_of(op.index, op.shape, op.index_shape, op.dim, Caller::scatter_add, stream),
        op.src.data, op.out.data, n, index[op.dim]};
    return launch(stream, scatter_add_kernel<T>, {p.plan.blocks, kThreads}, p);
  }
  require(n < int64_t{1} << 32, "scatterAdd: more than 2^32 indices of a line on a device");
  Lines p{};
  for (int i = 0; i < op.shape.rank; ++i)
    if (i != op.dim) p.outer.add({op.index_shape[i], {index[i], whole[i]}});
  const int64_t lines = op.index.size / n;
  p.index = index_of(op.index, size, Caller::scatter_add, stream);
  p.along = {n, {index[op.dim], whole[op.dim]}};
  p.size = size;
  p.skip = -1;
  p.plan = plan_sort(lines, size, stream.properties().processors);
  p.order = stream.scratch<int64_t>(op.index.size);
  launch(stream, scatter_add_sorted_kernel<T>, {lines * p.plan.chunks, kThreads, p.plan.shared}, p,
         static_cast<const T*>(op.src.data), static_cast<T*>(op.out.data));
}

}  // namespace

void select_add_cuda(const SelectAdd& op, Stream& stream) {
  check_select(op.grad, op.index, op.grad_out, op.outer, op.size, op.inner);
  const int64_t n = op.index.size;
  require(n < int64_t{1} << 32, "indexSelect: more than 2^32 indices on a device");
  Lines lines{};
  lines.index = index_of(op.index, op.size, Caller::index_select, stream);
  lines.along = {n, {1, 1}};
  lines.size = op.size;
  lines.skip = op.skip;
  lines.plan = plan_sort(1, op.size, stream.properties().processors);
  lines.order = stream.scratch<int64_t>(n);
  int64_t* start = stream.scratch<int64_t>(op.size + 1);
  launch(stream, index_sort_kernel, {lines.plan.chunks, kThreads, lines.plan.shared}, lines, start);
  if (op.grad.size == 0) return;
  SelectAddRows p{
      op.grad_out.data, op.grad.data, start, lines.order, op.outer * op.size, n, op.size, 0, {}};
  visit_float(op.grad.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    visit_pack<T>(op.inner, address_bits(p.grad_out, p.grad), [&](auto elements) {
      p.units = op.inner / elements;
      p.plan = plan_rows(p.rows, p.units, 1);
      launch(stream, index_select_add_kernel<T, elements>, {p.plan.blocks, kThreads}, p);
    });
  });
}

void scatter_add_cuda(const ScatterAdd& op, Stream& stream) {
  check_lines(op.index, op.out, op.src, op.shape, op.index_shape, op.dim);
  if (op.index.size == 0) return;
  visit_any(op.out.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    // Numbers only: bool is refused in TypeScript.
    scatter_add_as<std::conditional_t<std::is_same_v<T, int8_t>, uint8_t, T>>(op, stream);
  });
}

}  // namespace surprisal::indexing
