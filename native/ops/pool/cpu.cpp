#include "ops/pool/op.h"

#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "core/scratch.h"

namespace surprisal::pool {
namespace {

constexpr int64_t kGrain = 8192;  // positions worth waking a thread for

int64_t extent_of(const Pool& op, int axis) {
  return (op.kernel[axis] - 1) * op.dilation[axis] + 1;
}

// The positions of a window along one axis: begin, begin + step, ... < end.
struct Span {
  int64_t begin, end;
  int64_t extent;  // of the window inside image and padding
};

Span span(const Pool& op, int axis, int64_t o) {
  const int64_t size = op.size[axis], padding = op.padding[axis], step = op.dilation[axis];
  const int64_t begin = o * op.stride[axis] - padding;
  const int64_t end = begin + extent_of(op, axis);
  const int64_t below = begin < 0 ? (-begin + step - 1) / step : 0;
  return {begin + below * step, std::min(end, size), std::min(end, size + padding) - begin};
}

int64_t count(const Span& s) { return std::max<int64_t>(0, s.end - s.begin); }

struct Window {
  Span z, y, x;
};

// Calls f(window, plane, place of the result) for the results of rows [first, last).
template <class F>
void each_window(const Pool& op, int64_t first, int64_t last, F f) {
  const int64_t d = op.result_size[0], h = op.result_size[1], w = op.result_size[2];
  for (int64_t row = first; row < last; ++row) {
    Window window{span(op, 0, row / h % d), span(op, 1, row % h), {}};
    for (int64_t o = 0; o < w; ++o) {
      window.x = span(op, 2, o);
      f(window, row / (d * h), row * w + o);
    }
  }
}

int64_t rows_of(const Pool& op) { return op.planes * op.result_size[0] * op.result_size[1]; }
int64_t row_grain(const Pool& op) {
  return std::max<int64_t>(1, kGrain / (op.result_size[2] * op.kernel.count()));
}

template <class T>
auto value_of(T x) {
  if constexpr (std::is_arithmetic_v<T>) {
    return x;
  } else {
    return to_float(x);
  }
}

template <class T>
T least() {
  using L = std::numeric_limits<T>;
  if constexpr (std::is_integral_v<T>) {
    return L::lowest();
  } else {
    return element_of<T>(-std::numeric_limits<double>::infinity());
  }
}

template <class T>
void max_as(const Pool& op) {
  const T* image = op.image.as<T>();
  T* result = op.result.as<T>();
  int32_t* index = op.index.as<int32_t>();
  const int64_t h = op.size[1], w = op.size[2], plane_size = op.size.count();
  parallel_for(rows_of(op), row_grain(op), [&](int64_t first, int64_t last) {
    each_window(op, first, last, [&](const Window& at, int64_t plane, int64_t to) {
      const T* from = image + plane * plane_size;
      if (count(at.z) * count(at.y) * count(at.x) == 0) {
        // A dilated window may step over the whole image.
        if (index) index[to] = -1;
        result[to] = least<T>();
        return;
      }
      int64_t best = (at.z.begin * h + at.y.begin) * w + at.x.begin;
      auto largest = value_of(from[best]);
      for (int64_t z = at.z.begin; z < at.z.end; z += op.dilation[0])
        for (int64_t y = at.y.begin; y < at.y.end; y += op.dilation[1])
          for (int64_t x = at.x.begin; x < at.x.end; x += op.dilation[2]) {
            const int64_t place = (z * h + y) * w + x;
            const auto value = value_of(from[place]);
            if (!(value > largest || value != value)) continue;
            largest = value;
            best = place;
          }
      if (index) index[to] = static_cast<int32_t>(best);
      result[to] = from[best];
    });
  });
}

double divisor(const Pool& op, const Window& at) {
  if (op.divisor) return static_cast<double>(op.divisor);
  const int64_t n = op.count_padding ? at.z.extent * at.y.extent * at.x.extent
                                     : count(at.z) * count(at.y) * count(at.x);
  return static_cast<double>(n);
}

template <class T>
void avg_as(const Pool& op) {
  using A = accumulator_t<T>;
  const T* image = op.image.as<T>();
  T* result = op.result.as<T>();
  const int64_t h = op.size[1], w = op.size[2], plane_size = op.size.count();
  parallel_for(rows_of(op), row_grain(op), [&](int64_t first, int64_t last) {
    each_window(op, first, last, [&](const Window& at, int64_t plane, int64_t to) {
      const T* from = image + plane * plane_size;
      A sum = 0;
      for (int64_t z = at.z.begin; z < at.z.end; ++z)
        for (int64_t y = at.y.begin; y < at.y.end; ++y)
          for (int64_t x = at.x.begin; x < at.x.end; ++x)
            sum += value_of(from[(z * h + y) * w + x]);
      const bool is_empty = count(at.z) * count(at.y) * count(at.x) == 0;
      result[to] = element_of<T>(is_empty ? 0 : sum / static_cast<A>(divisor(op, at)));
    });
  });
}

// Runs f(row of the first result, plane of sums) for each plane and stores the sums as T.
template <class T, class F>
void sum_planes(const Pool& op, F f) {
  using A = accumulator_t<T>;
  const int64_t n = op.size.count(), rows = op.result_size[0] * op.result_size[1];
  T* image = op.image.as<T>();
  parallel_for(op.planes, std::max<int64_t>(1, kGrain / n), [&](int64_t first, int64_t last) {
    constexpr bool kDirect = std::is_same_v<T, A>;
    const Scratch<A> scratch(kDirect ? 0 : n);
    for (int64_t plane = first; plane < last; ++plane) {
      T* to = image + plane * n;
      A* sums = scratch.data();
      if constexpr (kDirect) sums = to;
      std::fill_n(sums, n, A{0});
      f(plane * rows, (plane + 1) * rows, sums);
      if constexpr (!kDirect) std::transform(sums, sums + n, to, element_of<T>);
    }
  });
}

template <class T>
void max_backward_as(const Pool& op) {
  const T* gradient = op.result.as<T>();
  const int32_t* index = op.index.as<int32_t>();
  const int64_t w = op.result_size[2];
  sum_planes<T>(op, [&](int64_t first, int64_t last, auto* sums) {
    for (int64_t i = first * w; i < last * w; ++i)
      if (index[i] >= 0) sums[index[i]] += value_of(gradient[i]);
  });
}

template <class T>
void avg_backward_as(const Pool& op) {
  using A = accumulator_t<T>;
  const T* gradient = op.result.as<T>();
  const int64_t h = op.size[1], w = op.size[2];
  sum_planes<T>(op, [&](int64_t first, int64_t last, A* sums) {
    each_window(op, first, last, [&](const Window& at, int64_t, int64_t from) {
      const A share = value_of(gradient[from]) / static_cast<A>(divisor(op, at));
      for (int64_t z = at.z.begin; z < at.z.end; ++z)
        for (int64_t y = at.y.begin; y < at.y.end; ++y)
          for (int64_t x = at.x.begin; x < at.x.end; ++x) sums[(z * h + y) * w + x] += share;
    });
  });
}

// False where there is nothing to do.
bool check(const Pool& op) {
  for (const Dims* dims :
       {&op.size, &op.result_size, &op.kernel, &op.stride, &op.padding, &op.dilation})
    require(dims->rank == 3, "pool: 3 axes");
  for (int axis = 0; axis < 3; ++axis) {
    require(op.kernel[axis] > 0 && op.stride[axis] > 0 && op.dilation[axis] > 0 &&
                op.padding[axis] >= 0 && op.padding[axis] < extent_of(op, axis),
            "pool: window");
    // The last window begins inside the image or the padding before it.
    const int64_t last = (op.result_size[axis] - 1) * op.stride[axis] - op.padding[axis];
    require(op.result_size[axis] >= 0 && last < op.size[axis], "pool: size of the result");
  }
  require(op.image.dtype == op.result.dtype, "pool: dtypes differ");
  require(op.image.size == op.planes * op.size.count() &&
              op.result.size == op.planes * op.result_size.count(),
          "pool: sizes differ");
  return op.image.size > 0 && op.result.size > 0;
}

bool check_index(const Pool& op) {
  require(!op.index || op.index.size == op.result.size, "pool: one index a window");
  require(op.size.count() <= std::numeric_limits<int32_t>::max(), "pool: plane beyond int32");
  return check(op);
}

}  // namespace

void max_pool(const Pool& op) {
  if (!check_index(op)) return;
  visit_any(op.image.dtype, [&](auto tag) { max_as<typename decltype(tag)::type>(op); });
}
void avg_pool(const Pool& op) {
  if (!check(op)) return;
  visit_float(op.image.dtype, [&](auto tag) { avg_as<typename decltype(tag)::type>(op); });
}
void max_pool_backward(const Pool& op) {
  require(bool(op.index), "pool: no index");
  if (!check_index(op)) return;
  const int64_t plane_size = op.size.count();
  const int32_t* index = op.index.as<int32_t>();
  const bool inside = std::all_of(index, index + op.index.size,
                                  [&](int64_t i) { return i >= -1 && i < plane_size; });
  require(inside, "pool: index outside its plane");
  visit_float(op.image.dtype, [&](auto tag) { max_backward_as<typename decltype(tag)::type>(op); });
}
void avg_pool_backward(const Pool& op) {
  if (!check(op)) return;
  visit_float(op.image.dtype, [&](auto tag) { avg_backward_as<typename decltype(tag)::type>(op); });
}

}  // namespace surprisal::pool
