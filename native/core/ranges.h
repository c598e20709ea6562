// What values of a whole array are refused for. Numbers of at least 0 are ordered as their bits
// are, and negative numbers and NaN lie above them, so that one comparison of integers checks any
// dtype.
#pragma once
#include <algorithm>
#include <atomic>
#include <limits>

#include "core/parallel.h"
#include "core/view.h"

namespace surprisal {

enum class Range : int32_t { unit, finite };  // [0, 1] or [0, infinity)

namespace ranges {

// The bits of 1 and of infinity.
template <class U>
constexpr U bits_of_one(DType dtype) {
  if (dtype == DType::f64) return U(0x3FF0000000000000ull);
  if (dtype == DType::f32) return U(0x3F800000u);
  if (dtype == DType::bf16) return U(0x3F80u);
  return dtype == DType::f16 ? U(0x3C00u) : U(1);
}
template <class U>
constexpr U bits_of_infinity(DType dtype) {
  if (dtype == DType::f64) return U(0x7FF0000000000000ull);
  if (dtype == DType::f32) return U(0x7F800000u);
  if (dtype == DType::bf16) return U(0x7F80u);
  return dtype == DType::f16 ? U(0x7C00u) : std::numeric_limits<U>::max();
}

}  // namespace ranges

// The first element outside the range, or -1; bool and uint8 count as whole numbers.
inline int64_t first_outside(const View& view, Range range) {
  std::atomic<int64_t> first{view.size};
  visit_width(view.dtype, [&](auto tag) {
    using U = typename decltype(tag)::type;
    const U most = range == Range::unit ? ranges::bits_of_one<U>(view.dtype)
                                        : U(ranges::bits_of_infinity<U>(view.dtype) - 1);
    const U minus_zero = is_float(view.dtype) ? U(U(1) << (8 * sizeof(U) - 1)) : U(0);
    const U* const values = static_cast<const U*>(view.data);
    const auto outside = [&](U v) { return (v > most) & (v != minus_zero); };
    constexpr int64_t kBlock = 4096;
    parallel_for(view.size, 1 << 16, [&](int64_t begin, int64_t end) {
      for (int64_t from = begin; from < end && from < first.load(); from += kBlock) {
        const int64_t to = std::min(end, from + kBlock);
        U any = 0;
        for (int64_t i = from; i < to; ++i) any |= U(outside(values[i]));
        if (!any) continue;
        int64_t i = from;
        while (!outside(values[i])) ++i;
        int64_t known = first.load();
        while (i < known && !first.compare_exchange_weak(known, i)) {
        }
        return;
      }
    });
  });
  return first == view.size ? -1 : first.load();
}

}  // namespace surprisal
