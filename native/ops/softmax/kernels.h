// Rows are handled one by one in the compute type: in place where the storage type is that type
// and the axis is the last, else through a scratch row. With an inner axis, a tile of neighbouring
// rows is gathered at once so that every cache line that is fetched is used.
// Included once per target.
#include "cpu/vector_math.h"
#include "cpu/blocks.h"

namespace softmax {

using ::surprisal::softmax::Backward;
using ::surprisal::softmax::Forward;

constexpr int64_t kTile = 16;      // rows gathered together
constexpr int64_t kPad = 16;       // elements between them
constexpr int64_t kGrain = 16384;  // elements worth waking a thread for

template <class C>
struct Sum {
  using V = vector_t<C>;
  V part[2] = {};
  C tail = 0;
  C total() const { return reduce_add(part[0] + part[1]) + tail; }
};

template <class C>
C row_max(const C* x, int64_t n) {
  constexpr int64_t kStep = kLanes<C>;
  using V = vector_t<C>;
  V top = splat(-std::numeric_limits<C>::infinity());
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const V v = load(x + i);
    top = select((v > top) | (v != v), v, top);
  }
  C m = top[0];
  const auto fold = [&](C v) { m = (v > m || v != v) ? v : m; };
  for (int64_t k = 1; k < kStep; ++k) fold(top[k]);
  for (; i < n; ++i) fold(x[i]);
  return m;
}

// One value through the vector function, so that tails round like the rest.
template <class C>
inline C exp_one(C x) {
  return exp(splat(x))[0];
}

// y = e^(x - m), returns its sum; y may be x.
template <class C>
C exp_row(const C* x, int64_t n, C m, C* y) {
  constexpr int64_t kStep = kLanes<C>;
  Sum<C> sum;
  int64_t i = 0;
  for (; i + 2 * kStep <= n; i += 2 * kStep) {
    for (int k = 0; k < 2; ++k) {
      const auto e = exp(load(x + i + k * kStep) - m);
      store(y + i + k * kStep, e);
      sum.part[k] += e;
    }
  }
  for (; i < n; ++i) {
    y[i] = exp_one<C>(x[i] - m);
    sum.tail += y[i];
  }
  return sum.total();
}

template <class C>
C exp_sum(const C* x, int64_t n, C m) {
  constexpr int64_t kStep = kLanes<C>;
  Sum<C> sum;
  int64_t i = 0;
  for (; i + 2 * kStep <= n; i += 2 * kStep)
    for (int k = 0; k < 2; ++k) sum.part[k] += exp(load(x + i + k * kStep) - m);
  for (; i < n; ++i) sum.tail += exp_one<C>(x[i] - m);
  return sum.total();
}

// out[i] = f(i), on vectors and then on scalars.
template <class C, class F, class G>
inline void each(int64_t n, C* out, F vector, G scalar) {
  constexpr int64_t kStep = kLanes<C>;
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) store(out + i, vector(i));
  for (; i < n; ++i) out[i] = scalar(i);
}

template <class C>
void forward_row(const C* x, int64_t n, bool log, C* y) {
  const C m = row_max(x, n);
  if (log) {
    const C lse = static_cast<C>(std::log(exp_sum(x, n, m)));
    // Two subtractions: m + lse would lose lse beside a large m.
    each(
        n, y, [&](int64_t i) { return (load(x + i) - m) - lse; },
        [&](int64_t i) { return (x[i] - m) - lse; });
  } else {
    const C scale = C(1) / exp_row(x, n, m, y);
    each(
        n, y, [&](int64_t i) { return load(y + i) * scale; },
        [&](int64_t i) { return y[i] * scale; });
  }
}

template <class C>
void backward_row(const C* y, const C* g, int64_t n, bool log, C* dx) {
  constexpr int64_t kStep = kLanes<C>;
  Sum<C> sum;
  int64_t i = 0;
  for (; i + 2 * kStep <= n; i += 2 * kStep) {
    for (int k = 0; k < 2; ++k) {
      const auto v = load(g + i + k * kStep);
      sum.part[k] += log ? v : v * load(y + i + k * kStep);
    }
  }
  for (; i < n; ++i) sum.tail += log ? g[i] : g[i] * y[i];
  const C s = sum.total();
  if (log) {
    each(
        n, dx, [&](int64_t i) { return load(g + i) - exp(load(y + i)) * s; },
        [&](int64_t i) { return g[i] - exp_one<C>(y[i]) * s; });
  } else {
    each(
        n, dx, [&](int64_t i) { return load(y + i) * (load(g + i) - s); },
        [&](int64_t i) { return y[i] * (g[i] - s); });
  }
}

// The rows of a (outer, n, inner) tensor that share an outer index and lie side by side.
struct Place {
  int64_t n, inner, begin;  // of element (o, 0, first)
  int64_t rows;             // 1 where inner is 1

  // Of gathered rows: a power of two would put all of them into one set of the cache.
  int64_t stride() const { return n + kPad; }
};

// The tile's rows as C, row-major: where they lie, or copied to `buffer`.
template <class C>
const C* fetch(const View& view, const Place& at, C* buffer) {
  if (at.inner == 1) return block_of(view, at.begin, at.n, buffer);
  C side[kTile];
  for (int64_t i = 0; i < at.n; ++i) {
    const C* from = block_of(view, at.begin + i * at.inner, at.rows, side);
    for (int64_t r = 0; r < at.rows; ++r) buffer[r * at.stride() + i] = from[r];
  }
  return buffer;
}
template <class C>
C* destination(const View& view, const Place& at, C* buffer) {
  const bool direct = at.inner == 1 && view.dtype == kNative<C>;
  return direct ? static_cast<C*>(view.data) + at.begin : buffer;
}
template <class C>
void put(const View& view, const Place& at, const C* rows) {
  if (at.inner == 1) {
    if (view.dtype != kNative<C>) store_block(view.dtype, rows, at.n, view.data, at.begin);
    return;
  }
  C side[kTile];
  const bool direct = view.dtype == kNative<C>;
  for (int64_t i = 0; i < at.n; ++i) {
    const int64_t begin = at.begin + i * at.inner;
    C* to = direct ? static_cast<C*>(view.data) + begin : side;
    for (int64_t r = 0; r < at.rows; ++r) to[r] = rows[r * at.stride() + i];
    if (!direct) store_block(view.dtype, side, at.rows, view.data, begin);
  }
}

// Calls body(place, scratch) for every tile; scratch holds `buffers` tiles where one is needed.
template <class C, class Op, class F>
void each_tile(const Op& op, DType dtype, int buffers, F body) {
  const int64_t rows = op.inner == 1 ? 1 : kTile;
  const int64_t tiles = (op.inner + rows - 1) / rows;
  const bool direct = op.inner == 1 && dtype == kNative<C>;
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, rows * op.n));
  parallel_for(op.outer * tiles, grain, [&](int64_t first, int64_t last) {
    const Scratch<C> scratch(direct ? 0 : buffers * rows * (op.n + kPad));
    for (int64_t unit = first; unit < last; ++unit) {
      const int64_t o = unit / tiles, column = unit % tiles * rows;
      body(Place{op.n, op.inner, o * op.n * op.inner + column, std::min(rows, op.inner - column)},
           scratch.data());
    }
  });
}

template <class C>
void forward_as(const Forward& op) {
  each_tile<C>(op, op.x.dtype, 1, [&](const Place& at, C* scratch) {
    const C* x = fetch(op.x, at, scratch);
    C* y = destination(op.y, at, scratch);
    for (int64_t r = 0; r < at.rows; ++r)
      forward_row(x + r * at.stride(), at.n, op.log, y + r * at.stride());
    put<C>(op.y, at, y);
  });
}

template <class C>
void backward_as(const Backward& op) {
  const int64_t tile = (op.inner == 1 ? 1 : kTile) * (op.n + kPad);
  each_tile<C>(op, op.y.dtype, 2, [&](const Place& at, C* scratch) {
    const C* y = fetch(op.y, at, scratch);
    const C* g = fetch(op.g, at, scratch ? scratch + tile : nullptr);
    C* dx = destination(op.dx, at, scratch);
    for (int64_t r = 0; r < at.rows; ++r)
      backward_row(y + r * at.stride(), g + r * at.stride(), at.n, op.log, dx + r * at.stride());
    put<C>(op.dx, at, dx);
  });
}

inline void forward(const Forward& op) {
  op.x.dtype == DType::f64 ? forward_as<double>(op) : forward_as<float>(op);
}
inline void backward(const Backward& op) {
  op.y.dtype == DType::f64 ? backward_as<double>(op) : backward_as<float>(op);
}

}  // namespace softmax
