// Sorting within a bin, for the baseline: the standard library's templates are compiled for it, and
// would not inline a comparison that is compiled for another instruction set.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>

namespace surprisal::uld {

template <class C>
struct Entry {
  C value;
  int32_t index;
};
template <class C>
inline bool operator>(const Entry<C>& a, const Entry<C>& b) {
  return a.value != b.value ? a.value > b.value : a.index < b.index;
}

// Rows of many equal values come in order.
template <class T>
inline void sort_descending(T* x, int64_t count) {
  if (count > 1 && !std::is_sorted(x, x + count, std::greater<T>()))
    std::sort(x, x + count, std::greater<T>());
}

}  // namespace surprisal::uld
