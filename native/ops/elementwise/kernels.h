// The engine: cuts the result into blocks, brings each operand's part of a block into one dense
// buffer of the compute type (or points at it where it already is one), and applies the function.
// Included once per target.
#include "cpu/vector_math.h"
#include "cpu/blocks.h"

namespace elementwise {

using ::surprisal::elementwise::Call;
using ::surprisal::elementwise::Dropout;
using ::surprisal::elementwise::Function;

#include "ops/elementwise/functions.h"

constexpr int64_t kParallelBlocks =
    64;  // 32768 elements: below, a wake-up costs more than it saves

// The result's axes after those of size 1 are dropped and neighbours merged that every operand
// walks as one. Innermost last; its stride is 0 or 1 in each operand.
struct Layout {
  int rank = 0;
  int64_t size[kMaxRank];
  int64_t stride[3][kMaxRank];

  void append(int64_t n, const int64_t* strides, int operands) {
    bool merges = rank > 0;
    for (int k = 0; k < operands && merges; ++k) merges = stride[k][rank - 1] == strides[k] * n;
    if (merges) {
      size[rank - 1] *= n;
    } else {
      size[rank++] = n;
    }
    for (int k = 0; k < operands; ++k) stride[k][rank - 1] = strides[k];
  }
};

inline Layout layout_of(const Call& call) {
  Layout layout;
  const Dims& shape = *call.shape;
  int64_t strides[kMaxRank][3];
  for (int k = 0; k < call.operands; ++k) {
    const Dims& own = *call.operand_shape[k];
    int64_t next = 1;
    for (int d = shape.rank - 1; d >= 0; --d) {
      const int e = d - (shape.rank - own.rank);
      const int64_t n = e >= 0 ? own.size[e] : 1;
      require(n == shape.size[d] || n == 1, "elementwise: shapes do not broadcast");
      strides[d][k] = n == 1 ? 0 : next;
      next *= n;
    }
    require(!call.operand[k] || next == call.operand[k].size, "elementwise: shape and size differ");
  }
  for (int d = 0; d < shape.rank; ++d)
    if (shape.size[d] != 1) layout.append(shape.size[d], strides[d], call.operands);
  return layout;
}

template <class C>
struct Source {
  enum Kind { dense, constant, strided } kind = dense;
  View view;
  C value = 0;
  const Layout* layout = nullptr;
  const int64_t* stride = nullptr;

  // Elements [begin, begin + n) of the broadcast operand. `buffer` already holds a constant.
  const C* block(int64_t begin, int64_t n, C* buffer) const {
    if (kind == constant) return buffer;
    if (kind == strided) return gather(begin, n, buffer);
    return block_of(view, begin, n, buffer);
  }

  const C* gather(int64_t begin, int64_t n, C* buffer) const {
    const int inner = layout->rank - 1;
    int64_t at[kMaxRank];
    int64_t offset = 0;
    for (int d = inner; d >= 0; --d) {
      at[d] = begin % layout->size[d];
      begin /= layout->size[d];
      offset += at[d] * stride[d];
    }
    int64_t done = 0;
    for (;;) {
      const int64_t run = std::min(layout->size[inner] - at[inner], n - done);
      if (stride[inner] == 0) {
        C element;
        load_block(view.dtype, view.data, offset, 1, &element);
        std::fill_n(buffer + done, run, element);
      } else if (run == n && view.dtype == kNative<C>) {
        return static_cast<const C*>(view.data) + offset;
      } else {
        load_block(view.dtype, view.data, offset, run, buffer + done);
      }
      done += run;
      if (done == n) return buffer;
      offset += run * stride[inner];
      at[inner] += run;
      for (int d = inner; d > 0 && at[d] == layout->size[d]; --d) {
        offset += stride[d - 1] - at[d] * stride[d];
        at[d] = 0;
        ++at[d - 1];
      }
    }
  }
};

template <class C>
Source<C> source_of(const Call& call, int k, const Layout& layout) {
  Source<C> source;
  source.view = call.operand[k];
  if (!source.view) {
    source.kind = Source<C>::constant;
    source.value = static_cast<C>(k == 2 ? call.q : call.p);
    return source;
  }
  const int64_t size = source.view.size;
  if (size == 1) {
    source.kind = Source<C>::constant;
    load_block(source.view.dtype, source.view.data, 0, 1, &source.value);
  } else if (size != call.out.size) {
    require(call.shape != nullptr, "elementwise: sizes differ");
    source.kind = Source<C>::strided;
    source.layout = &layout;
    source.stride = layout.stride[k];
  }
  return source;
}

template <class C>
void run_as(const Call& call) {
  const BlockFunction<C> apply_to = block_function<C>(call.function);
  if (!apply_to) {
    throw Error(Code::invalid_type, "elementwise: expected a float dtype");
  }
  const Layout layout = call.shape ? layout_of(call) : Layout{};
  Source<C> source[3];
  for (int k = 0; k < call.operands; ++k) source[k] = source_of<C>(call, k, layout);
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

// A comparison computes in the dtype of what it compares, everything else in that of its result.
inline DType compute_dtype(const Call& call) {
  if (call.out.dtype != DType::boolean) return call.out.dtype;
  for (int k = 0; k < call.operands; ++k)
    if (call.operand[k]) return call.operand[k].dtype;
  return DType::f32;
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
  // uniform(word) >= p, in integers: a uniform number is (word >> 8) / 2^24.
  const auto threshold = static_cast<uint32_t>(std::ceil(op.p * 0x1p24));
  const V scale = splat(static_cast<C>(op.p < 1 ? 1 / (1 - op.p) : 0));
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
