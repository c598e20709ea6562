// Reading and writing at indices on the device: memory traffic only, one read and one write of what
// moves is the floor.
//   Select, Gather, MaskedFill  rows in units of up to 16 bytes (RowPlan): short rows share a warp
//   OneHot                      a memset, and one store an index
//   SelectAdd                   indices listed by destination in order of j (sort_kernel), then one
//                               pass that sums each destination's rows in registers
//   ScatterAdd                  short lines: the first index of a destination sums for all; long
//                               lines: listed by destination as above
// Sums run in order of j, so they have the bits of the CPU's. The sort reads all indices once a
// block of destinations: beyond about 10^6 indices into 10^6 places a radix sort would win.
// A bad index is reported and counts as absent: its row is zero, it adds nothing.
#include "cuda/launch.h"
#include "ops/indexing/lines.h"
#include "ops/indexing/plan.h"

namespace surprisal::indexing {
namespace {

using namespace cuda;

struct Index {
  const void* data;
  bool wide;  // int64
  int64_t limit;
  int32_t caller;
  FaultSite fault;

  __device__ int64_t at(int64_t i) const {
    return wide ? load(static_cast<const int64_t*>(data) + i)
                : int64_t{load(static_cast<const int32_t*>(data) + i)};
  }
  __device__ bool fits(int64_t value) const { return value >= 0 && value < limit; }
  __device__ void report(int64_t position, int64_t value) const {
    report_fault(fault, position, value, limit, caller);
  }
  // The index, or -1 for a bad one, which is reported.
  __device__ int64_t checked(int64_t i) const {
    const int64_t value = at(i);
    if (fits(value)) return value;
    report(i, value);
    return -1;
  }
};

// The part of a row that this thread moves: units first, first + lanes, ... below end.
struct Place {
  int64_t row, first, end;

  __device__ Place(const RowPlan& plan, int64_t units) {
    int64_t block = block_index(), chunk = 0;
    if (plan.chunks > 1) {
      chunk = block % plan.chunks;
      block /= plan.chunks;
    }
    row = block * (kThreads / plan.lanes) + thread_index() / plan.lanes;
    first = chunk * plan.chunk + thread_index() % plan.lanes;
    end = (chunk + 1) * plan.chunk < units ? (chunk + 1) * plan.chunk : units;
  }
};

// Adds the offsets of an item of the row-major product of `axes` to `at`.
template <int K>
__device__ inline void add_offsets(const Axes<K>& axes, int64_t item, int64_t (&at)[K]) {
  for (int i = axes.rank - 1; i >= 0; --i) {
    const int64_t rest = i > 0 ? item / axes.axis[i].n : 0;
#pragma unroll
    for (int k = 0; k < K; ++k) at[k] += (item - rest * axes.axis[i].n) * axes.axis[i].stride[k];
    item = rest;
  }
}

// --- Select --------------------------------------------------------------------------------------

struct SelectRows {
  const void* a;
  void* out;
  Index index;
  int64_t rows, n, size, units;  // out is (rows = outer n, units)
  RowPlan plan;
};

template <class Unit>
__global__ void __launch_bounds__(kThreads) index_select_kernel(SelectRows p) {
  const Place place(p.plan, p.units);
  if (place.row >= p.rows) return;
  const int64_t outer = p.rows > p.n ? place.row / p.n : 0;
  const int64_t at = p.index.checked(place.row - outer * p.n);
  const Unit* from = static_cast<const Unit*>(p.a) + (outer * p.size + at) * p.units;
  Unit* to = static_cast<Unit*>(p.out) + place.row * p.units;
  for (int64_t i = place.first; i < place.end; i += p.plan.lanes)
    store(to + i, at >= 0 ? load(from + i) : Unit{});
}

// --- Gather --------------------------------------------------------------------------------------

// Rows are lines along the last axis of the index array.
struct Places {
  Index index;
  Axes<1> outer;         // all axes but the last; strides in the whole array, 0 along dim
  int64_t rows, width;   // of the index array
  int64_t column, step;  // strides in the whole array: along the last axis (0 if dim), along dim
  RowPlan plan;
};

struct GatherPlaces : Places {
  const void* a;
  void* out;
};

template <class T>
__global__ void __launch_bounds__(kThreads) gather_kernel(GatherPlaces p) {
  const Place place(p.plan, p.width);
  if (place.row >= p.rows) return;
  int64_t base[1] = {0};
  add_offsets(p.outer, place.row, base);
  for (int64_t i = place.first; i < place.end; i += p.plan.lanes) {
    const int64_t position = place.row * p.width + i;
    const int64_t at = p.index.checked(position);
    const T* from = static_cast<const T*>(p.a) + base[0] + i * p.column + at * p.step;
    store(static_cast<T*>(p.out) + position, at >= 0 ? load(from) : T{});
  }
}

// --- sums ----------------------------------------------------------------------------------------

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

// --- MaskedFill, OneHot --------------------------------------------------------------------------

struct FillRows {
  const void* a;
  const int8_t* mask;
  void* out;
  Axes<1> outer;
  int64_t rows, units, step;  // step: of the mask along a row
  uint64_t value;
  RowPlan plan;
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads) masked_fill_kernel(FillRows p) {
  using Unit = Pack<T, N>;
  using Mask = Pack<int8_t, N>;
  const Place place(p.plan, p.units);
  if (place.row >= p.rows) return;
  int64_t base[1] = {0};
  add_offsets(p.outer, place.row, base);
  const int8_t* masks = p.mask + base[0];
  const bool packed = p.step == 1 && reinterpret_cast<uintptr_t>(masks) % sizeof(Mask) == 0;
  for (int64_t i = place.first; i < place.end; i += p.plan.lanes) {
    Unit x = load(static_cast<const Unit*>(p.a) + place.row * p.units + i);
    Mask mask;
    if (packed) {
      mask = load(reinterpret_cast<const Mask*>(masks) + i);
    } else {
#pragma unroll
      for (int e = 0; e < N; ++e) mask.at[e] = load(masks + (i * N + e) * p.step);
    }
#pragma unroll
    for (int e = 0; e < N; ++e)
      if (mask.at[e]) x.at[e] = static_cast<T>(p.value);
    store(static_cast<Unit*>(p.out) + place.row * p.units + i, x);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) one_hot_kernel(Index index, T* out, int64_t n, T one) {
  const int64_t i = block_index() * kThreads + thread_index();
  if (i >= n) return;
  const int64_t at = index.checked(i);
  if (at >= 0) store(out + i * index.limit + at, one);
}

// --- host ----------------------------------------------------------------------------------------

void raise_index(const Fault& f) {
  throw index_error(static_cast<Caller>(f.b), f.a, f.value, f.row);
}

Index index_of(const View& index, int64_t limit, Caller caller, Stream& stream) {
  require(index.dtype == DType::i32 || index.dtype == DType::i64, "indexing: index dtype");
  return {index.data, index.dtype == DType::i64, limit, static_cast<int32_t>(caller),
          stream.fault_site(raise_index)};
}

template <class... P>
uint64_t address_bits(const P*... p) {
  return (reinterpret_cast<uintptr_t>(p) | ...);
}

// Calls f(TypeTag<unit>) with a unit of `bytes`.
template <class F>
void visit_unit(int bytes, F&& f) {
  switch (bytes) {
    case 16:
      return f(TypeTag<Pack<uint64_t, 2>>{});
    case 8:
      return f(TypeTag<uint64_t>{});
    case 4:
      return f(TypeTag<uint32_t>{});
    case 2:
      return f(TypeTag<uint16_t>{});
    default:
      return f(TypeTag<uint8_t>{});
  }
}

template <class T, class F>
void visit_pack(int64_t row, uint64_t bits, F&& f) {
  constexpr int kMost = kPack<T>;
  if (plan_access(row * int64_t{sizeof(T)}, bits, sizeof(T)) == 16) {
    f(std::integral_constant<int, kMost>{});
  } else {
    f(std::integral_constant<int, 1>{});
  }
}

Places places_of(const View& index, const Dims& shape, const Dims& index_shape, int dim,
                 Caller caller, Stream& stream) {
  const Dims whole = strides_of(shape);
  const int last = shape.rank - 1;
  Places p{};
  for (int i = 0; i < last; ++i) p.outer.add({index_shape[i], {i == dim ? 0 : whole[i]}});
  p.width = index_shape[last];
  p.rows = p.width > 0 ? index.size / p.width : 0;
  p.column = dim == last ? 0 : 1;
  p.step = whole[dim];
  p.index = index_of(index, shape[dim], caller, stream);
  p.plan = plan_rows(p.rows, p.width, 4);
  return p;
}

}  // namespace

void select_cuda(const Select& op, Stream& stream) {
  check_select(op.a, op.index, op.out, op.outer, op.size, op.inner);
  SelectRows p{};
  p.a = op.a.data;
  p.out = op.out.data;
  p.index = index_of(op.index, op.size, static_cast<Caller>(op.caller), stream);
  p.n = op.index.size;
  p.size = op.size;
  // Without elements there are still indices to check.
  p.rows = op.out.size > 0 ? op.outer * p.n : p.n;
  const int64_t bytes = op.out.size > 0 ? op.inner * size_of(op.a.dtype) : 0;
  const int element = static_cast<int>(size_of(op.a.dtype));
  visit_unit(plan_access(bytes, address_bits(p.a, p.out), element), [&](auto tag) {
    using Unit = typename decltype(tag)::type;
    p.units = bytes / int64_t{sizeof(Unit)};
    p.plan = plan_rows(p.rows, p.units, 4);
    launch(stream, index_select_kernel<Unit>, {p.plan.blocks, kThreads}, p);
  });
}

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

void gather_cuda(const Gather& op, Stream& stream) {
  check_lines(op.index, op.a, op.out, op.shape, op.index_shape, op.dim);
  GatherPlaces p{places_of(op.index, op.shape, op.index_shape, op.dim, Caller::gather, stream),
                 op.a.data, op.out.data};
  visit_width(op.a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(stream, gather_kernel<T>, {p.plan.blocks, kThreads}, p);
  });
}

namespace {

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

void scatter_add_cuda(const ScatterAdd& op, Stream& stream) {
  check_lines(op.index, op.out, op.src, op.shape, op.index_shape, op.dim);
  if (op.index.size == 0) return;
  visit_any(op.out.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    // Numbers only: bool is refused in TypeScript.
    scatter_add_as<std::conditional_t<std::is_same_v<T, int8_t>, uint8_t, T>>(op, stream);
  });
}

void masked_fill_cuda(const MaskedFill& op, Stream& stream) {
  FillRows p{};
  p.outer = check_mask(op);
  if (op.a.size == 0) return;
  const Axis<1> row = p.outer.axis[--p.outer.rank];
  p.a = op.a.data;
  p.mask = op.mask.as<int8_t>();
  p.out = op.out.data;
  p.rows = op.a.size / row.n;
  p.step = row.stride[0];
  p.value = bits_of_value(op.a.dtype, op.value);
  visit_width(op.a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    visit_pack<T>(row.n, address_bits(p.a, p.out), [&](auto elements) {
      p.units = row.n / elements;
      p.plan = plan_rows(p.rows, p.units, 4);
      launch(stream, masked_fill_kernel<T, elements>, {p.plan.blocks, kThreads}, p);
    });
  });
}

void one_hot_cuda(const OneHot& op, Stream& stream) {
  const int64_t n = op.index.size;
  require(op.out.size == n * op.classes, "oneHot: shapes do not fit");
  const Index index = index_of(op.index, op.classes, Caller::one_hot, stream);
  if (op.out.size > 0) stream.fill_bytes(op.out.data, 0, op.out.size * size_of(op.out.dtype));
  visit_width(op.out.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(stream, one_hot_kernel<T>, {(n + kThreads - 1) / kThreads, kThreads}, index,
           static_cast<T*>(op.out.data), n, static_cast<T>(bits_of_value(op.out.dtype, 1)));
  });
}

}  // namespace surprisal::indexing
