// Conversion of all 64 pairs of dtypes. The floor is the bytes of both arrays, once. As on the CPU
// an element passes through a wide type that holds every value of its class (float, double or
// int64_t): the dtypes are run-time switches over 8 readers and 8 writers for each of the three.
// Aligned arrays take the pack kernel: 16 bytes of the wider dtype an access, two or four packs a
// thread in flight, the last n % pack elements one by one. Others take the plain kernel. The same
// dtype on both sides is a device copy.
#include "cuda/elements.h"
#include "cuda/launch.h"
#include "ops/cast/op.h"
#include "ops/cast/plan.h"

namespace surprisal::cast {
namespace {

using namespace cuda;

struct Arrays {
  const void* from;
  void* to;
  DType from_dtype, to_dtype;
  int64_t n;
};

// Calls f(TypeTag<T>, TypeTag<Wide>) for the dtype that is read.
template <class F>
__device__ inline void visit_source(DType dtype, F&& f) {
  visit_dtype(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using Wide = std::conditional_t<std::is_integral_v<T>, int64_t, accumulator_t<T>>;
    f(tag, TypeTag<Wide>{});
  });
}

__device__ inline void convert_one(const Arrays& a, int64_t i) {
  visit_source(a.from_dtype, [&](auto from, auto wide) {
    using From = typename decltype(from)::type;
    const auto x =
        widened<typename decltype(wide)::type>(load(static_cast<const From*>(a.from) + i));
    visit_dtype(a.to_dtype, [&](auto to) {
      using To = typename decltype(to)::type;
      store(static_cast<To*>(a.to) + i, narrowed<To>(x));
    });
  });
}

__global__ void __launch_bounds__(kThreads) cast_plain_kernel(Arrays a) {
  const int64_t i = block_index() * block_size() + thread_index();
  if (i < a.n) convert_one(a, i);
}

// Writes what `wide` holds: kept apart from the reading, so that there are 3 x 8 writers, not 64.
template <class Wide, int N, int P>
__device__ inline void write_packs(const Arrays& a, int64_t first, int64_t packs,
                                   const Wide (&wide)[P][N]) {
  visit_dtype(a.to_dtype, [&](auto to) {
    using To = typename decltype(to)::type;
    if constexpr (sizeof(To) * N <= 16) {  // the wider dtype's pack makes 16 bytes
#pragma unroll
      for (int p = 0; p < P; ++p) {
        const int64_t at = first + p * block_size();
        if (at < packs) store_elements(wide[p], static_cast<To*>(a.to) + at * N);
      }
    }
  });
}

template <class From, class Wide, int N, int P>
__device__ inline void read_packs(const Arrays& a, int64_t first, int64_t packs,
                                  Wide (&wide)[P][N]) {
  if constexpr (sizeof(From) * N <= 16) {
#pragma unroll
    for (int p = 0; p < P; ++p) {
      const int64_t at = first + p * block_size();
      if (at < packs) load_elements(static_cast<const From*>(a.from) + at * N, wide[p]);
    }
  }
}

template <class Wide, class... From, int N, int P>
__device__ inline bool convert_packs(const Arrays& a, int64_t first, int64_t packs,
                                     std::integer_sequence<int, N, P>) {
  if (!((a.from_dtype == DTypeOf<From>::value) || ...)) return false;
  Wide wide[P][N];
  ((a.from_dtype == DTypeOf<From>::value ? read_packs<From>(a, first, packs, wide)
                                         : static_cast<void>(0)),
   ...);
  write_packs(a, first, packs, wide);
  return true;
}

// Faster than the plain kernel: whole 16-byte accesses, and several on their way at once.
template <int N, int P>
__global__ void __launch_bounds__(kThreads) cast_pack_kernel(Arrays a) {
  const int64_t packs = a.n / N;
  const int64_t first = block_index() * (int64_t{P} * block_size()) + thread_index();
  constexpr std::integer_sequence<int, N, P> kShape{};
  // In the order of how often each class is converted.
  if (!convert_packs<float, float, BFloat16, Float16>(a, first, packs, kShape) &&
      !convert_packs<int64_t, int64_t, int32_t, uint8_t, int8_t>(a, first, packs, kShape))
    convert_packs<double, double>(a, first, packs, kShape);
  const int64_t rest = packs * N + thread_index();
  if (block_index() == grid_size() - 1 && rest < a.n) convert_one(a, rest);
}

}  // namespace

void cast_cuda(const Cast& op, Stream& stream) {
  require(op.a && op.out && op.a.size == op.out.size, "cast: a and out differ in size");
  const int64_t n = op.a.size;
  if (n == 0) return;
  if (op.a.dtype == op.out.dtype) {
    if (op.a.data != op.out.data) stream.copy(op.out.data, op.a.data, n * size_of(op.a.dtype));
    return;
  }
  const Plan p =
      plan(n, op.a.dtype, op.out.dtype, is_aligned(op.a.data) && is_aligned(op.out.data));
  const Arrays arrays{op.a.data, op.out.data, op.a.dtype, op.out.dtype, n};
  const auto kernel = p.pack == 16  ? cast_pack_kernel<16, packs_of(16)>
                      : p.pack == 8 ? cast_pack_kernel<8, packs_of(8)>
                      : p.pack == 4 ? cast_pack_kernel<4, packs_of(4)>
                      : p.pack == 2 ? cast_pack_kernel<2, packs_of(2)>
                                    : cast_plain_kernel;
  launch(stream, kernel, {p.blocks, kThreads}, arrays);
}

}  // namespace surprisal::cast
