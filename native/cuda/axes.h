// Merged axes (core/axes.h) as a kernel walks them: an item of the row-major product becomes one
// offset per array. Below 2^31 items the divisions are a multiplication and a shift.
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
  bool small = true;  // fewer than 2^31 items
  Divisor divisor[kMaxRank + 1];
  int64_t size[kMaxRank + 1];
  int64_t stride[K][kMaxRank + 1];

  // The first `rank` axes.
  static DeviceAxes of(const Axes<K>& axes, int rank) {
    DeviceAxes d{};
    d.rank = rank;
    d.small = axes.count(rank) < int64_t{1} << 31;
    for (int i = 0; i < rank; ++i) {
      d.size[i] = axes.axis[i].n;
      if (d.small) d.divisor[i] = Divisor::of(d.size[i]);
      for (int k = 0; k < K; ++k) d.stride[k][i] = axes.axis[i].stride[k];
    }
    return d;
  }

  SP_HOST_DEVICE void offsets(int64_t item, int64_t (&at)[K]) const {
    for (int k = 0; k < K; ++k) at[k] = 0;
    for (int i = rank - 1; i > 0; --i) {
      const int64_t next =
          small ? int64_t{divisor[i].divide(static_cast<uint32_t>(item))} : item / size[i];
      const int64_t index = item - next * size[i];
      for (int k = 0; k < K; ++k) at[k] += index * stride[k][i];
      item = next;
    }
    for (int k = 0; k < K; ++k) at[k] += item * stride[k][0];
  }
};

}  // namespace surprisal::cuda
