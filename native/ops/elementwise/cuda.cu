// out = f(a, b, c) element by element. The floor is the bytes of the arrays, once: up to a few
// dozen instructions an element hide behind memory. One kernel per function and compute type
// (float, double, int64_t): the dtypes of the arrays are run-time switches at load and store.
//   plain  one element an access, any addresses, any broadcasting: double, int64_t, odd shapes
//   packs  float with 16-bit, float32 and bool arrays: 4 elements an access (8 or 16 bytes),
//   operands
//          dense, repeated along rows or constant
// A broadcast operand costs one multiplication by a reciprocal an axis, a pack or an element.
// Dropout makes one Philox block for each pack of 4.
#include "core/philox.h"
#include "cuda/axes.h"
#include "cuda/elements.h"
#include "cuda/launch.h"
#include "ops/elementwise/call.h"
#include "ops/elementwise/numbers.cuh"
#include "ops/elementwise/plan.h"

namespace surprisal::elementwise {
namespace {

using namespace cuda;

template <class C>
struct Operand {
  const void* data;
  DType dtype;
  enum Kind : int32_t {
    dense,     // element i at i
    repeated,  // along axes
    constant,  // one element
    number,    // `value`
  } kind;
  bool runs_on;  // repeated: the innermost stride is 1, not 0
  C value;
};
template <class C>
struct Arguments {
  Operand<C> in[3];
  void* out;
  DType out_dtype;
  bool broadcast;
  int64_t n;
  C p, q;
  DeviceAxes<3> axes;  // in items: elements, or packs whose offsets count elements
};

// The operands' offsets for an item that stands for N elements.
template <int N, class C>
__device__ inline void offsets_of(const Arguments<C>& a, int64_t item, int64_t (&at)[3]) {
  if (a.broadcast) a.axes.offsets(static_cast<uint32_t>(item), at);
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    if (a.in[k].kind == Operand<C>::dense) at[k] = item * N;
    if (a.in[k].kind == Operand<C>::constant) at[k] = 0;
  }
}

template <class C>
__device__ inline C load_one(const Operand<C>& x, int64_t at) {
  if (x.kind == Operand<C>::number) return x.value;
  C result = 0;
  visit_dtype(x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    result = widened<C>(load(static_cast<const T*>(x.data) + at));
  });
  return result;
}

// A result has a dtype that C computes for, or is a comparison's.
template <class C>
__device__ inline void store_one(const Arguments<C>& a, int64_t at, C x) {
  visit_dtype(a.out_dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr bool kOwn =
        std::is_same_v<C, int64_t> ? std::is_integral_v<T> : std::is_same_v<accumulator_t<T>, C>;
    if constexpr (std::is_same_v<T, int8_t> ||
                  (kOwn && std::is_integral_v<T> == std::is_integral_v<C>))
      store(static_cast<T*>(a.out) + at, narrowed<T>(x));
  });
}

template <class F, class C>
__device__ inline C result_of(const Arguments<C>& a, C x, C y, C z) {
  return F::template at<C>(x, y, z, numbers::Parameters<C>{a.p, a.q});
}

// The definition: any strides, any addresses.
template <class F, int Operands, class C>
__global__ void __launch_bounds__(kThreads) elementwise_plain_kernel(Arguments<C> a) {
  const int64_t i = block_index() * kThreads + thread_index();
  if (i >= a.n) return;
  int64_t at[3] = {};
  offsets_of<1>(a, i, at);
  C x[3] = {};
#pragma unroll
  for (int k = 0; k < Operands; ++k) x[k] = load_one(a.in[k], at[k]);
  store_one(a, i, result_of<F>(a, x[0], x[1], x[2]));
}

// Calls f(TypeTag<T>) for the dtypes that the pack kernel takes.
template <class F>
__device__ inline void visit_packed(DType dtype, F&& f) {
  if (dtype == DType::bf16) return f(TypeTag<BFloat16>{});
  if (dtype == DType::f32) return f(TypeTag<float>{});
  if (dtype == DType::f16) return f(TypeTag<Float16>{});
  f(TypeTag<int8_t>{});
}

__device__ inline void load_pack(const Operand<float>& x, int64_t at, float (&to)[kPack]) {
  const bool whole = x.kind == Operand<float>::dense || (x.kind == x.repeated && x.runs_on);
  float one = x.value;
  if (x.kind != Operand<float>::number) {
    visit_packed(x.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T* from = static_cast<const T*>(x.data) + at;
      if (whole) {
        load_elements(from, to);
      } else {
        one = widened<float>(load(from));
      }
    });
  }
#pragma unroll
  for (int j = 0; j < kPack; ++j)
    if (!whole) to[j] = one;
}

// Faster than the plain kernel: a fourth of the accesses, index arithmetic and switches.
template <class F, int Operands>
__global__ void __launch_bounds__(kThreads) elementwise_pack_kernel(Arguments<float> a) {
  const int64_t first = block_index() * (kPacks * kThreads) + thread_index(), packs = a.n / kPack;
  float x[kPacks][3][kPack] = {};
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    if (first + i * kThreads >= packs) break;
    int64_t at[3] = {};
    offsets_of<kPack>(a, first + i * kThreads, at);
#pragma unroll
    for (int k = 0; k < Operands; ++k) load_pack(a.in[k], at[k], x[i][k]);
  }
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    if (first + i * kThreads >= packs) break;
    float y[kPack];
#pragma unroll
    for (int j = 0; j < kPack; ++j) y[j] = result_of<F>(a, x[i][0][j], x[i][1][j], x[i][2][j]);
    visit_packed(a.out_dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      store_elements(y, static_cast<T*>(a.out) + (first + i * kThreads) * kPack);
    });
  }
  // Broadcast rows are whole packs: only dense operands leave a rest.
  const int64_t rest = packs * kPack + thread_index();
  if (block_index() > 0 || rest >= a.n) return;
  float one[3] = {};
#pragma unroll
  for (int k = 0; k < Operands; ++k)
    one[k] = load_one(a.in[k], a.in[k].kind == Operand<float>::dense ? rest : 0);
  store_one(a, rest, result_of<F>(a, one[0], one[1], one[2]));
}

template <class C>
using Kernel = void (*)(Arguments<C>);

// Null where the function is not defined for the compute type.
template <class C>
Kernel<C> kernel_of(Function function, [[maybe_unused]] bool packs) {
#define CASE(name, Name, Operands)                                        \
  case Function::name:                                                    \
    if constexpr (std::is_same_v<C, float>)                               \
      if (packs) return elementwise_pack_kernel<numbers::Name, Operands>; \
    return elementwise_plain_kernel<numbers::Name, Operands, C>;
  switch (function) {
    SURPRISAL_FUNCTIONS(CASE)
    default:
      break;
  }
  if constexpr (!std::is_same_v<C, int64_t>) {
    switch (function) {
      SURPRISAL_FLOAT_FUNCTIONS(CASE)
      default:
        break;
    }
  }
#undef CASE
  return nullptr;
}

template <class C>
C number_of(double x) {
  if constexpr (std::is_same_v<C, int64_t>) {
    return saturate<int64_t>(x);
  } else {
    return static_cast<C>(x);
  }
}

template <class C>
Operand<C> operand_of(const Call& call, int k, const Axes<3>& axes) {
  const View& view = call.operand[k];
  Operand<C> x{view.data, view.dtype, Operand<C>::number, false, C(0)};
  if (!view) {
    x.value = number_of<C>(k == 2 ? call.q : call.p);
  } else if (view.size == 1) {
    x.kind = Operand<C>::constant;
  } else if (view.size == call.out.size) {
    x.kind = Operand<C>::dense;
  } else {
    require(call.shape != nullptr, "elementwise: sizes differ");
    x.kind = Operand<C>::repeated;
    x.runs_on = axes.axis[axes.rank - 1].stride[k] == 1;
  }
  return x;
}

template <class C>
void launch_broadcast(Arguments<C> a, Axes<3> axes, Kernel<C> kernel, bool packs, Stream& stream) {
  a.broadcast = true;
  const int each = packs ? kPack : 1;
  Axis<3>& row = axes.axis[axes.rank - 1];
  row.n /= each;
  for (int64_t& stride : row.stride) stride *= each;
  in_parts(axes, [&](const Axes<3>& part, const int64_t(&at)[3], int64_t first) {
    Arguments<C> own = a;
    for (int k = 0; k < 3; ++k) {
      if (!own.in[k].data || own.in[k].kind == Operand<C>::constant) continue;
      own.in[k].data = static_cast<const char*>(own.in[k].data) + at[k] * size_of(own.in[k].dtype);
    }
    own.out = static_cast<char*>(own.out) + first * each * size_of(own.out_dtype);
    own.n = part.count(part.rank) * each;
    own.axes = DeviceAxes<3>::of(part);
    launch(stream, kernel, {blocks_of(own.n, packs), kThreads}, own);
  });
}

template <class C>
void run_as(const Call& call, Stream& stream) {
  Axes<3> axes = axes_of(call);
  bool aligned = is_aligned(call.out.data);
  for (int k = 0; k < call.operands; ++k) aligned &= is_aligned(call.operand[k].data);
  const Plan p = plan(call, axes, aligned);
  const Kernel<C> kernel = kernel_of<C>(call.function, p.packs);
  if (!kernel) throw Error(Code::invalid_type, "elementwise: expected a float dtype");
  Arguments<C> a{};
  for (int k = 0; k < call.operands; ++k) a.in[k] = operand_of<C>(call, k, axes);
  a.out = call.out.data;
  a.out_dtype = call.out.dtype;
  a.n = call.out.size;
  a.p = number_of<C>(call.p);
  a.q = number_of<C>(call.q);
  if (!p.broadcast) return launch(stream, kernel, {blocks_of(a.n, p.packs), kThreads}, a);
  launch_broadcast(a, axes, kernel, p.packs, stream);
}

void run(const Call& call, Stream& stream) {
  switch (compute_dtype(call)) {
    case DType::f64:
      return run_as<double>(call, stream);
    case DType::f32:
    case DType::f16:
    case DType::bf16:
      return run_as<float>(call, stream);
    default:
      return run_as<int64_t>(call, stream);
  }
}

template <class C>
struct Mask {
  const void* a;
  void* out;
  DType dtype;
  int64_t n;
  uint64_t seed, offset;
  uint32_t threshold;
  C scale;
  bool aligned;
};

// A thread makes the block of words for its 4 elements.
template <class C>
__global__ void __launch_bounds__(kThreads) elementwise_dropout_kernel(Mask<C> m) {
  const int64_t pack = block_index() * block_size() + thread_index();
  if (pack * kPack >= m.n) return;
  const PhiloxBlock random = philox(m.seed, m.offset + static_cast<uint64_t>(pack));
  const int count = m.n - pack * kPack < kPack ? static_cast<int>(m.n - pack * kPack) : kPack;
  visit_dtype(m.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* a = static_cast<const T*>(m.a) + pack * kPack;
    T* out = static_cast<T*>(m.out) + pack * kPack;
    const auto dropped = [&](C x, int j) {
      return (random.word[j] >> 8) >= m.threshold ? x * m.scale : C(0);
    };
    if (m.aligned && count == kPack) {
      C x[kPack];
      load_elements(a, x);
#pragma unroll
      for (int j = 0; j < kPack; ++j) x[j] = dropped(x[j], j);
      store_elements(x, out);
    } else {
#pragma unroll
      for (int j = 0; j < kPack; ++j)
        if (j < count) store(out + j, narrowed<T>(dropped(widened<C>(load(a + j)), j)));
    }
  });
}

template <class C>
void dropout_as(const Dropout& op, Stream& stream) {
  const int64_t packs = (op.out.size + kPack - 1) / kPack;
  launch(stream, elementwise_dropout_kernel<C>, {(packs + kThreads - 1) / kThreads, kThreads},
         Mask<C>{op.a.data, op.out.data, op.out.dtype, op.out.size, static_cast<uint64_t>(op.seed),
                 static_cast<uint64_t>(op.offset), threshold_of(op), static_cast<C>(scale_of(op)),
                 is_aligned(op.a.data) && is_aligned(op.out.data)});
}

}  // namespace

void unary_cuda(const Unary& op, Stream& stream) { run(call_of(op), stream); }
void binary_cuda(const Binary& op, Stream& stream) { run(call_of(op), stream); }
void ternary_cuda(const Ternary& op, Stream& stream) { run(call_of(op), stream); }
void accumulate_cuda(const Accumulate& op, Stream& stream) { run(call_of(op), stream); }

void dropout_cuda(const Dropout& op, Stream& stream) {
  check(op);
  op.out.dtype == DType::f64 ? dropout_as<double>(op, stream) : dropout_as<float>(op, stream);
}

}  // namespace surprisal::elementwise
