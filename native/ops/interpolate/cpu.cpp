#include "ops/interpolate/op.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "core/scratch.h"

namespace surprisal::interpolate {
namespace {

constexpr int64_t kGrain = 8192;  // results worth waking a thread for

// What a position of the result reads along one axis.
template <class A>
struct Source {
  int64_t low, high;
  A low_weight, high_weight;
};

template <class A>
void sources(const Interpolate& op, int axis, double given, Source<A>* to) {
  const int64_t n = op.size[axis], m = op.result_size[axis];
  A scale = given > 0 ? static_cast<A>(given) : static_cast<A>(n) / static_cast<A>(m);
  if (op.align_corners) scale = m > 1 ? static_cast<A>(n - 1) / static_cast<A>(m - 1) : A{0};
  for (int64_t o = 0; o < m; ++o) {
    if (!op.linear) {
      const A at = std::floor(static_cast<A>(o) * scale);
      to[o].low = to[o].high =
          std::min(n - 1, static_cast<int64_t>(std::min(at, static_cast<A>(n))));
      to[o].low_weight = 1;
      to[o].high_weight = 0;
      continue;
    }
    A at = static_cast<A>(o) * scale;
    if (!op.align_corners) at = std::max(A{0}, scale * (static_cast<A>(o) + A(0.5)) - A(0.5));
    at = std::min(at, static_cast<A>(n));
    to[o].low = std::min(n - 1, static_cast<int64_t>(at));
    to[o].high = std::min(n - 1, to[o].low + 1);
    to[o].high_weight = std::min(A{1}, at - static_cast<A>(to[o].low));
    to[o].low_weight = 1 - to[o].high_weight;
  }
}

template <class A>
struct Table {
  const Scratch<Source<A>> memory;
  const Source<A>* axis[3];

  explicit Table(const Interpolate& op)
      : memory(op.result_size[0] + op.result_size[1] + op.result_size[2]) {
    const double scales[] = {op.scale_z, op.scale_y, op.scale_x};
    Source<A>* at = memory.data();
    for (int a = 0; a < 3; at += op.result_size[a++]) {
      sources(op, a, scales[a], at);
      axis[a] = at;
    }
  }
};

template <class T>
auto value_of(T x) {
  if constexpr (std::is_arithmetic_v<T>) {
    return x;
  } else {
    return to_float(x);
  }
}

// The four lines of a plane between which a row of the result lies, and their weights. A weight of
// 0 leaves its line out: what is there may be infinite.
template <class A, class F>
void each_line(const Interpolate& op, const Table<A>& table, int64_t row, F f) {
  const Source<A>& z = table.axis[0][row / op.result_size[1] % op.result_size[0]];
  const Source<A>& y = table.axis[1][row % op.result_size[1]];
  for (int i = 0; i < 4; ++i) {
    const A weight =
        (i < 2 ? z.low_weight : z.high_weight) * (i % 2 == 0 ? y.low_weight : y.high_weight);
    if (weight == 0) continue;
    f(((i < 2 ? z.low : z.high) * op.size[1] + (i % 2 == 0 ? y.low : y.high)) * op.size[2], weight);
  }
}

template <class T>
void forward_as(const Interpolate& op) {
  using A = accumulator_t<T>;
  const Table<A> table(op);
  const int64_t rows = op.planes * op.result_size[0] * op.result_size[1];
  const int64_t width = op.result_size[2], plane_rows = op.result_size[0] * op.result_size[1];
  const Source<A>* xs = table.axis[2];
  parallel_for(rows, std::max<int64_t>(1, kGrain / width), [&](int64_t first, int64_t last) {
    const Scratch<A> sums(width);
    for (int64_t row = first; row < last; ++row) {
      const T* plane = op.image.as<T>() + row / plane_rows * op.size.count();
      std::fill_n(sums.data(), width, A{0});
      each_line(op, table, row, [&](int64_t line, A weight) {
        const T* from = plane + line;
        for (int64_t x = 0; x < width; ++x) {
          A value = xs[x].low_weight * value_of(from[xs[x].low]);
          if (xs[x].high_weight != 0) value += xs[x].high_weight * value_of(from[xs[x].high]);
          sums[x] += weight * value;
        }
      });
      T* to = op.result.as<T>() + row * width;
      for (int64_t x = 0; x < width; ++x) to[x] = element_of<T>(sums[x]);
    }
  });
}

template <class T>
void backward_as(const Interpolate& op) {
  using A = accumulator_t<T>;
  constexpr bool kDirect = std::is_same_v<T, A>;
  const Table<A> table(op);
  const int64_t n = op.size.count(), width = op.result_size[2];
  const int64_t rows = op.result_size[0] * op.result_size[1];
  const Source<A>* xs = table.axis[2];
  const int64_t grain = std::max<int64_t>(1, kGrain / (rows * width));
  parallel_for(op.planes, grain, [&](int64_t first, int64_t last) {
    const Scratch<A> scratch(kDirect ? 0 : n);
    for (int64_t plane = first; plane < last; ++plane) {
      T* to = op.image.as<T>() + plane * n;
      A* sums = scratch.data();
      if constexpr (kDirect) sums = to;
      std::fill_n(sums, n, A{0});
      for (int64_t row = 0; row < rows; ++row) {
        const T* gradient = op.result.as<T>() + (plane * rows + row) * width;
        each_line(op, table, row, [&](int64_t line, A weight) {
          for (int64_t x = 0; x < width; ++x) {
            const A g = weight * value_of(gradient[x]);
            sums[line + xs[x].low] += xs[x].low_weight * g;
            if (xs[x].high_weight != 0) sums[line + xs[x].high] += xs[x].high_weight * g;
          }
        });
      }
      if constexpr (!kDirect) std::transform(sums, sums + n, to, element_of<T>);
    }
  });
}

bool check(const Interpolate& op) {
  require(op.size.rank == 3 && op.result_size.rank == 3, "interpolate: 3 axes");
  require(op.image.dtype == op.result.dtype, "interpolate: dtypes differ");
  require(op.image.size == op.planes * op.size.count() &&
              op.result.size == op.planes * op.result_size.count(),
          "interpolate: sizes differ");
  return op.image.size > 0 && op.result.size > 0;
}

}  // namespace

void interpolate(const Interpolate& op) {
  if (!check(op)) return;
  visit_float(op.image.dtype, [&](auto tag) { forward_as<typename decltype(tag)::type>(op); });
}
void interpolate_backward(const Interpolate& op) {
  if (!check(op)) return;
  visit_float(op.image.dtype, [&](auto tag) { backward_as<typename decltype(tag)::type>(op); });
}

}  // namespace surprisal::interpolate
