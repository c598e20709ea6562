#include "ops/sort/op.h"

#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "core/scratch.h"

namespace surprisal::sort {
namespace {

constexpr int64_t kGrain = 4096;     // elements worth waking a thread for
constexpr int64_t kRadixFrom = 256;  // shorter lines are merged
constexpr int64_t kDigit = 8, kRadix = 1 << kDigit;

template <class Key>
struct Item {
  Key key;
  int32_t index;
  bool operator<(const Item& b) const { return key < b.key || (key == b.key && index < b.index); }
};

// An unsigned number of the same order: floats by their bits, those of negative numbers inverted.
template <class T>
auto key_of(T x) {
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

// Sorts `items` by their keys, least digit first; a digit that all keys share is passed over.
template <class Key>
void radix_sort(Item<Key>* items, Item<Key>* other, int64_t n) {
  Item<Key>* from = items;
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

// Positions come in ascending order, so ordering the pairs is the same as a stable sort by key.
template <class Key>
void order(Item<Key>* items, Item<Key>* other, int64_t n, int64_t count) {
  if (count < n) {
    if (count > 0) std::nth_element(items, items + count - 1, items + n);
    std::sort(items, items + count);
  } else if (n < kRadixFrom) {
    std::sort(items, items + n);
  } else {
    radix_sort(items, other, n);
  }
}

template <class T>
void run(const Sort& op) {
  using Key = decltype(key_of(T{}));
  const T* a = op.a.as<T>();
  T* values = op.values.as<T>();
  int32_t* indices = op.indices.as<int32_t>();
  const Key flip = op.descending ? ~Key{0} : Key{0};
  parallel_for(op.outer * op.inner, kGrain / op.n, [&](int64_t begin, int64_t end) {
    const Scratch<Item<Key>> memory(2 * op.n);
    Item<Key>* items = memory.data();
    for (int64_t line = begin; line < end; ++line) {
      const T* from = a + line / op.inner * op.n * op.inner + line % op.inner;
      for (int64_t i = 0; i < op.n; ++i)
        items[i] = {Key(key_of(from[i * op.inner]) ^ flip), static_cast<int32_t>(i)};
      order(items, items + op.n, op.n, op.count);
      int64_t at = line / op.inner * op.count * op.inner + line % op.inner;
      for (int64_t i = 0; i < op.count; ++i, at += op.inner) {
        indices[at] = items[i].index;
        values[at] = from[items[i].index * op.inner];
      }
    }
  });
}

}  // namespace

void sort(const Sort& op) {
  require(op.values.dtype == op.a.dtype, "sort: values have another dtype");
  require(op.n <= std::numeric_limits<int32_t>::max(), "sort: positions do not fit int32");
  require(op.count >= 0 && op.count <= op.n, "sort: more than there are");
  const int64_t lines = op.outer * op.inner;
  require(op.a.size == lines * op.n && op.values.size == lines * op.count &&
              op.indices.size == op.values.size,
          "sort: sizes differ");
  if (op.values.size == 0) return;
  visit_any(op.a.dtype, [&](auto tag) { run<typename decltype(tag)::type>(op); });
}

}  // namespace surprisal::sort
