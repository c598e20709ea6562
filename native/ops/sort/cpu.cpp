#include "ops/sort/op.h"

#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "core/scratch.h"
#include "core/sorting.h"

namespace surprisal::sort {
namespace {

constexpr int64_t kGrain = 4096;  // elements worth waking a thread for

// Positions come in ascending order, so ordering the pairs is the same as a stable sort by key.
template <class Key>
void order(Keyed<Key>* items, Keyed<Key>* other, int64_t n, int64_t count) {
  if (count < n) {
    if (count > 0) std::nth_element(items, items + count - 1, items + n);
    std::sort(items, items + count);
  } else {
    sort_keyed(items, other, n);
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
    const Scratch<Keyed<Key>> memory(2 * op.n);
    Keyed<Key>* items = memory.data();
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
