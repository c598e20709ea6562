// Single numbers of a view on the host whose float dtype is known only at run time: weights,
// losses, upstream gradients. Loops over elements take the typed array instead.
#pragma once
#include <type_traits>

#include "core/view.h"

namespace surprisal {

inline double value_of(const View& view, int64_t i) {
  double x = 0;
  visit_float(view.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (std::is_same_v<T, double>) {
      x = view.as<T>()[i];
    } else {
      x = to_float(view.as<T>()[i]);
    }
  });
  return x;
}
inline void set_value(const View& view, int64_t i, double x) {
  visit_float(view.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    view.as<T>()[i] = element_of<T>(x);
  });
}

}  // namespace surprisal
