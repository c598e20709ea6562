// Merged axes (core/axes.h) as a kernel walks them: an item of the row-major product becomes one
// offset per array. The divisions are a multiplication and a shift, good for 2^31 items: a longer
// product is launched in parts.
#pragma once
#include "core/axes.h"
#include "cuda/device.h"

namespace surprisal::cuda {

// x / n for 0 <= x < 2^31 and 1 <= n < 2^31 (Granlund and Montgomery 1994, figure 4.1): with
// s = ceil(log2 n) the multiplier 2^32 + magic = floor(2^32 (2^s - n) / n) + 1 + 2^32 has 33 bits.
struct Divisor {
  uint32_t n = 1, magic = 1, shift = 0;

  static Divisor of(int64_t n) {
    uint32_t shift = 0;
    while (int64_t{1} << shift < n) ++shift;
    const uint64_t over = (uint64_t{1} << shift) - static_cast<uint64_t>(n);
    return {static_cast<uint32_t>(n),
            static_cast<uint32_t>((over << 32) / static_cast<uint64_t>(n) + 1), shift};
  }
  SP_HOST_DEVICE uint32_t divide(uint32_t x) const {
    return (static_cast<uint32_t>((uint64_t{x} * magic) >> 32) + x) >> shift;
  }
};

template <int K>
struct DeviceAxes {
  int rank = 0;
  Divisor divisor[kMaxRank + 1];
  int64_t stride[K][kMaxRank + 1];

  static DeviceAxes of(const Axes<K>& axes) {
    DeviceAxes d{};
    d.rank = axes.rank;
    for (int i = 0; i < axes.rank; ++i) {
      d.divisor[i] = Divisor::of(axes.axis[i].n);
      for (int k = 0; k < K; ++k) d.stride[k][i] = axes.axis[i].stride[k];
    }
    return d;
  }

  SP_HOST_DEVICE void offsets(uint32_t item, int64_t (&at)[K]) const {
    for (int k = 0; k < K; ++k) at[k] = 0;
    for (int i = rank - 1; i > 0; --i) {
      const uint32_t next = divisor[i].divide(item), index = item - next * divisor[i].n;
      for (int k = 0; k < K; ++k) at[k] += index * stride[k][i];
      item = next;
    }
    for (int k = 0; k < K; ++k) at[k] += item * stride[k][0];
  }
};

// Calls f(axes, at, first) for parts of fewer than `limit` items, where `at` are the offsets of a
// part's first item and `first` is its number in the whole.
template <int K, class F>
void in_parts(Axes<K> axes, F&& f, int64_t limit = int64_t{1} << 31, int64_t first = 0,
              const int64_t (&at)[K] = {}) {
  const int64_t items = axes.count(axes.rank);
  if (items == 0) return;
  if (items < limit) return f(axes, at, first);
  int outer = 0;
  while (axes.axis[outer].n == 1) ++outer;
  const int64_t half = axes.axis[outer].n / 2;
  Axes<K> rest = axes;
  axes.axis[outer].n = half;
  rest.axis[outer].n -= half;
  int64_t next[K];
  for (int k = 0; k < K; ++k) next[k] = at[k] + half * axes.axis[outer].stride[k];
  const int64_t second = first + axes.count(axes.rank);
  in_parts(axes, f, limit, first, at);
  in_parts(rest, f, limit, second, next);
}

}  // namespace surprisal::cuda
