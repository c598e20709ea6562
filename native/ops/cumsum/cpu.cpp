#include "ops/cumsum/op.h"

#include <algorithm>

#include "core/parallel.h"

namespace surprisal::cumsum {
namespace {

constexpr int64_t kGrain = 8192;   // elements worth waking a thread for
constexpr int64_t kColumns = 256;  // neighbouring lines that one thread walks together

template <class T>
auto wide(T x) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<uint64_t>(static_cast<int64_t>(x));  // unsigned: it may wrap
  } else if constexpr (std::is_same_v<T, double>) {
    return x;
  } else {
    return static_cast<double>(to_float(x));
  }
}

template <class T>
auto narrow(decltype(wide(T{})) x) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<int64_t>(x);
  } else {
    return element_of<T>(x);
  }
}

template <class T>
void run(const Cumsum& op) {
  using Out = decltype(narrow<T>({}));
  const T* a = op.a.as<T>();
  Out* out = op.out.as<Out>();
  const int64_t blocks = (op.inner + kColumns - 1) / kColumns;
  const int64_t lines = std::min(op.inner, kColumns);
  const int64_t grain = std::max<int64_t>(1, kGrain / (op.n * lines));
  const int64_t step = op.reverse ? -op.inner : op.inner;
  parallel_for(op.outer * blocks, grain, [&](int64_t begin, int64_t end) {
    decltype(wide(T{})) sum[kColumns];
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t column = unit % blocks * kColumns;
      const int64_t count = std::min(kColumns, op.inner - column);
      int64_t at = unit / blocks * op.n * op.inner + column;
      if (op.reverse) at += (op.n - 1) * op.inner;
      std::fill_n(sum, count, 0);
      for (int64_t i = 0; i < op.n; ++i, at += step)
        for (int64_t k = 0; k < count; ++k) out[at + k] = narrow<T>(sum[k] += wide(a[at + k]));
    }
  });
}

}  // namespace

void cumsum(const Cumsum& op) {
  const bool is_sum =
      is_float(op.a.dtype) ? op.out.dtype == op.a.dtype : op.out.dtype == DType::i64;
  require(is_sum, "cumsum: the result has another dtype");
  require(op.a.size == op.outer * op.n * op.inner && op.out.size == op.a.size,
          "cumsum: sizes differ");
  if (op.a.size == 0) return;
  visit_any(op.a.dtype, [&](auto tag) { run<typename decltype(tag)::type>(op); });
}

}  // namespace surprisal::cumsum
