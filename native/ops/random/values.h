// What the words of a Philox block become, for both devices.
#pragma once
#include "core/dtype.h"
#include "core/philox.h"

namespace surprisal::random {

// Random bits of a uniform number. A 16-bit float takes no more than it can hold, or the largest
// would round to 1.
template <class T>
constexpr int kBits = std::is_same_v<T, float>     ? 24
                      : std::is_same_v<T, Float16> ? 11
                                                   : 8;

inline SP_HOST_DEVICE float uniform_bits(uint32_t word, int bits) {
  return float(word >> (32 - bits)) * (1.0f / float(1 << bits));
}

inline SP_HOST_DEVICE uint64_t integer_of(uint32_t high, uint32_t low, uint64_t first,
                                          uint64_t range) {
  const uint64_t x = uint64_t{high} << 32 | low;
  return first + uint64_t((static_cast<unsigned __int128>(x) * range) >> 64);
}

}  // namespace surprisal::random
