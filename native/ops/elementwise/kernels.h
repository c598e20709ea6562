// The engine: cuts the result into blocks, brings each operand's part of a block into one dense
// buffer of the compute type (or points at it where it already is one), and applies the function.
// Included once per target.
#include "cpu/vector_math.h"
#include "cpu/blocks.h"

namespace elementwise {

using ::surprisal::elementwise::Call;
using ::surprisal::elementwise::Dropout;
using ::surprisal::elementwise::Function;

template <class V>
using scalar_of = std::remove_reference_t<decltype(std::declval<V&>()[0])>;

template <class V>
inline V constant(double x) {
  return splat(static_cast<scalar_of<V>>(x));
}

#include "ops/elementwise/functions.h"

constexpr int64_t kParallelBlocks =
    64;  // 32768 elements: below, a wake-up costs more than it saves

template <class C>
using BlockFunction = void (*)(const C* const* in, C* out, int64_t n, double p, double q);

template <class F, int Operands, class C>
void apply(const C* const* in, C* out, int64_t n, double p, double q) {
  using V = vector_t<C>;
  constexpr int64_t kStep = kLanes<C>;
  const Parameters<V> with{constant<V>(p), constant<V>(q)};
  const auto at = [&](const C* const* x) {
    return F::at(load(x[0]), Operands > 1 ? load(x[1]) : V{}, Operands > 2 ? load(x[2]) : V{},
                 with);
  };
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const C* x[3];
    for (int k = 0; k < Operands; ++k) x[k] = in[k] + i;
    store(out + i, at(x));
  }
  if (i == n) return;
  // The tail goes through the same vector function: a result never depends on its position.
  C lane[3][kStep], result[kStep];
  const C* x[3];
  for (int k = 0; k < Operands; ++k) {
    for (int64_t j = 0; j < kStep; ++j) lane[k][j] = i + j < n ? in[k][i + j] : C(1);
    x[k] = lane[k];
  }
  store(result, at(x));
  std::memcpy(out + i, result, (n - i) * sizeof(C));
}

// Null where the function is not defined for the compute type.
template <class C>
BlockFunction<C> block_function(Function function) {
#define CASE(name, Name, Operands) \
  case Function::name:             \
    return apply<Name, Operands, C>;
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

// Filled in place and only as far as its kind needs it: a small operation takes less time than
// copies of this do.
template <class C>
struct Source {
  enum Kind { dense, constant, strided } kind;
  const View* view;
  C value;              // of a constant
  const Axes<3>* axes;  // of the result, beside a strided operand
  int operand;

  // Elements [begin, begin + n) of the broadcast operand. `buffer` already holds a constant.
  const C* block(int64_t begin, int64_t n, C* buffer) const {
    if (kind == constant) return buffer;
    if (kind == strided) return gather(begin, n, buffer);
    return block_of(*view, begin, n, buffer);
  }

  const C* gather(int64_t begin, int64_t n, C* buffer) const {
    const Axis<3>* axis = axes->axis;
    const int inner = axes->rank - 1, own = operand;
    int64_t at[kMaxRank];
    int64_t offset = 0;
    for (int d = inner; d >= 0; --d) {
      at[d] = begin % axis[d].n;
      begin /= axis[d].n;
      offset += at[d] * axis[d].stride[own];
    }
    int64_t done = 0;
    for (;;) {
      const int64_t run = std::min(axis[inner].n - at[inner], n - done);
      if (axis[inner].stride[own] == 0) {
        C element;
        load_block(view->dtype, view->data, offset, 1, &element);
        std::fill_n(buffer + done, run, element);
      } else if (run == n && view->dtype == kNative<C>) {
        return static_cast<const C*>(view->data) + offset;
      } else {
        load_block(view->dtype, view->data, offset, run, buffer + done);
      }
      done += run;
      if (done == n) return buffer;
      offset += run * axis[inner].stride[own];
      at[inner] += run;
      for (int d = inner; d > 0 && at[d] == axis[d].n; --d) {
        offset += axis[d - 1].stride[own] - at[d] * axis[d].stride[own];
        at[d] = 0;
        ++at[d - 1];
      }
    }
  }
};

template <class C>
void set_source(const Call& call, int k, const Axes<3>& axes, Source<C>& source) {
  const View& view = call.operand[k];
  source.view = &view;
  source.kind = view ? Source<C>::dense : Source<C>::constant;
  if (!view) {
    source.value = static_cast<C>(k == 2 ? call.q : call.p);
  } else if (view.size == 1) {
    source.kind = Source<C>::constant;
    load_block(view.dtype, view.data, 0, 1, &source.value);
  } else if (view.size != call.out.size) {
    require(call.shape != nullptr, "elementwise: sizes differ");
    source.kind = Source<C>::strided;
    source.axes = &axes;
    source.operand = k;
  }
}

template <class C>
void run_as(const Call& call) {
  const BlockFunction<C> apply_to = block_function<C>(call.function);
  if (!apply_to) {
    throw Error(Code::invalid_type, "elementwise: expected a float dtype");
  }
  Axes<3> axes;
  if (call.shape) axes = axes_of(call);
  Source<C> source[3];
  for (int k = 0; k < call.operands; ++k) set_source(call, k, axes, source[k]);
  const int64_t n = call.out.size;
  const bool direct = call.out.dtype == kNative<C>;
  // Pieces are whole blocks, whatever the number of threads.
  parallel_for((n + kBlock - 1) / kBlock, kParallelBlocks, [&](int64_t first, int64_t last) {
    alignas(64) C buffer[3][kBlock], result[kBlock];
    for (int k = 0; k < call.operands; ++k)
      if (source[k].kind == Source<C>::constant)
        std::fill_n(buffer[k], std::min(n, kBlock), source[k].value);
    for (int64_t begin = first * kBlock; begin < std::min(n, last * kBlock); begin += kBlock) {
      const int64_t count = std::min(kBlock, n - begin);
      const C* in[3];
      for (int k = 0; k < call.operands; ++k) in[k] = source[k].block(begin, count, buffer[k]);
      if (direct) {
        apply_to(in, static_cast<C*>(call.out.data) + begin, count, call.p, call.q);
      } else {
        apply_to(in, result, count, call.p, call.q);
        store_block(call.out.dtype, result, count, call.out.data, begin);
      }
    }
  });
}

inline void run(const Call& call) {
  switch (compute_dtype(call)) {
    case DType::f64:
      return run_as<double>(call);
    case DType::f32:
    case DType::f16:
    case DType::bf16:
      return run_as<float>(call);
    default:
      return run_as<int64_t>(call);
  }
}

template <class C>
void dropout_as(const Dropout& op) {
  using V = vector_t<C>;
  const int64_t n = op.out.size;
  const uint32_t threshold = threshold_of(op);
  const V scale = splat(static_cast<C>(scale_of(op)));
  parallel_for((n + kBlock - 1) / kBlock, kParallelBlocks / 4, [&](int64_t first, int64_t last) {
    alignas(64) C block[kBlock] = {}, kept[kBlock];
    for (int64_t begin = first * kBlock; begin < std::min(n, last * kBlock); begin += kBlock) {
      const int64_t count = std::min(kBlock, n - begin);
      load_block(op.a.dtype, op.a.data, begin, count, block);
      for (int64_t i = 0; i < count; i += 4) {
        const PhiloxBlock random = philox(op.seed, op.offset + (begin + i) / 4);
        for (int k = 0; k < 4; ++k) kept[i + k] = C(int((random.word[k] >> 8) >= threshold));
      }
      for (int64_t i = 0; i < count; i += kLanes<C>)
        store(block + i, select(load(kept + i) != V{}, load(block + i) * scale, V{}));
      store_block(op.out.dtype, block, count, op.out.data, begin);
    }
  });
}

inline void dropout(const Dropout& op) {
  op.out.dtype == DType::f64 ? dropout_as<double>(op) : dropout_as<float>(op);
}

}  // namespace elementwise
