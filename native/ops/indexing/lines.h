// What the CPU and the CUDA form of the indexing operations share on the host: shape checks, the
// words of a bad index, and how positions of an index array map to elements of the other array.
#pragma once
#include <cstring>
#include <string>

#include "core/axes.h"
#include "ops/indexing/op.h"

namespace surprisal::indexing {

inline Error index_error(Caller caller, int64_t limit, int64_t value, int64_t position) {
  constexpr const char* kExpected[] = {"indexSelect: expected index", "embedding: expected ids",
                                       "gather: expected index", "scatterAdd: expected index",
                                       "oneHot: expected index"};
  return Error(Code::out_of_range, std::string(kExpected[static_cast<int32_t>(caller)]) +
                                       " to be in [0, " + std::to_string(limit) + "), got " +
                                       std::to_string(value) + " at position " +
                                       std::to_string(position));
}

inline void check_select(const View& whole, const View& index, const View& part, int64_t outer,
                         int64_t size, int64_t inner) {
  require(whole.dtype == part.dtype && whole.size == outer * size * inner &&
              part.size == outer * index.size * inner,
          "indexSelect: shapes do not fit");
}

inline void check_lines(const View& index, const View& whole, const View& part, const Dims& shape,
                        const Dims& index_shape, int32_t dim) {
  require(whole.dtype == part.dtype && shape.rank == index_shape.rank && dim >= 0 &&
              dim < shape.rank && whole.size == shape.count() && part.size == index.size &&
              index.size == index_shape.count(),
          "gather: shapes do not fit");
  for (int i = 0; i < shape.rank; ++i)
    require(i == dim || index_shape[i] <= shape[i], "gather: shapes do not fit");
}

inline Dims strides_of(const Dims& shape) {
  Dims strides;
  strides.rank = shape.rank;
  int64_t step = 1;
  for (int i = shape.rank - 1; i >= 0; --i) {
    strides.size[i] = step;
    step *= shape[i];
  }
  return strides;
}

// The axes of a mask under those of the array that it is broadcast to; at least one axis.
inline Axes<1> check_mask(const MaskedFill& op) {
  require(op.a.dtype == op.out.dtype && op.a.size == op.out.size && op.a.size == op.shape.count() &&
              op.mask_strides.rank == op.shape.rank,
          "maskedFill: shapes do not fit");
  Axes<1> axes;
  int64_t last = 0;
  for (int i = 0; i < op.shape.rank; ++i) {
    axes.add({op.shape[i], {op.mask_strides[i]}});
    last += (op.shape[i] - 1) * op.mask_strides[i];
  }
  require(op.a.size == 0 || (last >= 0 && last < op.mask.size), "maskedFill: shapes do not fit");
  if (axes.rank == 0) axes.axis[axes.rank++] = {1, {1}};
  return axes;
}

inline uint64_t bits_of_value(DType dtype, double value) {
  uint64_t bits = 0;
  visit_any(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T typed = element_of<T>(value);
    std::memcpy(&bits, &typed, sizeof typed);
  });
  return bits;
}

}  // namespace surprisal::indexing
