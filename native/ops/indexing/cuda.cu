// Reading and writing at indices on the device: memory traffic only, one read and one write of what
// moves is the floor. The sums are in cuda_sums.cu.
//   Select, Gather, MaskedFill  rows in units of up to 16 bytes (RowPlan): short rows share a warp
//   OneHot                      a memset, and one store an index
// A bad index is reported and counts as absent: its row is zero.
#include "ops/indexing/device_index.h"

namespace surprisal::indexing {
namespace {

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

// --- launch --------------------------------------------------------------------------------------

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

void gather_cuda(const Gather& op, Stream& stream) {
  check_lines(op.index, op.a, op.out, op.shape, op.index_shape, op.dim);
  GatherPlaces p{places_of(op.index, op.shape, op.index_shape, op.dim, Caller::gather, stream),
                 op.a.data, op.out.data};
  visit_width(op.a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(stream, gather_kernel<T>, {p.plan.blocks, kThreads}, p);
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
