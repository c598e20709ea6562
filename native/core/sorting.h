// Numbers in order, with the positions they had: each becomes an unsigned key of the same order (-0
// equals 0, a NaN is larger than every number), long lists are sorted by digits (least first),
// short ones by merging. Stable where positions ascend at first.
#pragma once
#include <algorithm>
#include <limits>
#include <type_traits>

#include "core/dtype.h"
#include "core/portable.h"

namespace surprisal {

template <class Key>
struct Keyed {
  Key key;
  int32_t index;
  bool operator<(const Keyed& b) const { return key < b.key || (key == b.key && index < b.index); }
};

// Floats by their bits, those of negative numbers inverted.
template <class T>
SP_HOST_DEVICE auto key_of(T x) {
  if constexpr (std::is_same_v<T, double> || std::is_same_v<T, int64_t>) {
    uint64_t u;
    std::memcpy(&u, &x, 8);
    constexpr uint64_t kTop = uint64_t{1} << 63;
    if constexpr (std::is_same_v<T, int64_t>) {
      return u ^ kTop;
    } else {
      if (x != x) return std::numeric_limits<uint64_t>::max();
      if (x == 0) return kTop;
      return u & kTop ? ~u : u | kTop;
    }
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<uint32_t>(static_cast<int32_t>(x)) ^ 0x80000000u;
  } else {
    const float f = to_float(x);
    const uint32_t u = bits_of(f);
    if (f != f) return std::numeric_limits<uint32_t>::max();
    if (f == 0) return 0x80000000u;
    return u & 0x80000000u ? ~u : u | 0x80000000u;
  }
}

namespace detail {

// A digit that all keys share is passed over.
template <class Key>
void radix_sort(Keyed<Key>* items, Keyed<Key>* other, int64_t n) {
  constexpr int64_t kDigit = 8, kRadix = 1 << kDigit;
  Keyed<Key>* from = items;
  for (size_t shift = 0; shift < sizeof(Key) * 8; shift += kDigit) {
    int64_t start[kRadix] = {};
    for (int64_t i = 0; i < n; ++i) ++start[(from[i].key >> shift) & (kRadix - 1)];
    if (start[(from[0].key >> shift) & (kRadix - 1)] == n) continue;
    for (int64_t d = 0, sum = 0; d < kRadix; ++d) {
      const int64_t count = start[d];
      start[d] = sum;
      sum += count;
    }
    for (int64_t i = 0; i < n; ++i) other[start[(from[i].key >> shift) & (kRadix - 1)]++] = from[i];
    std::swap(from, other);
  }
  if (from != items) std::copy_n(from, n, items);
}

}  // namespace detail

// `other` has room for n more.
template <class Key>
void sort_keyed(Keyed<Key>* items, Keyed<Key>* other, int64_t n) {
  constexpr int64_t kRadixFrom = 256;
  if (n < kRadixFrom) {
    std::sort(items, items + n);
  } else {
    detail::radix_sort(items, other, n);
  }
}

}  // namespace surprisal
