// Blocks of kRows rows of x against kColumns rows of y, widened to the compute type.
// Included once per target.
#include "cpu/vector_math.h"
#include "cpu/blocks.h"
#include "cpu/gemm.h"

namespace cdist {

using ::surprisal::cdist::Backward;
using ::surprisal::cdist::Cdist;

constexpr int64_t kRows = 240, kColumns = 192;  // of a unit; multiples of every tile
constexpr int64_t kPart = 256;                  // of the width at a time

enum class Norm { zero, one, two, any, infinite };
inline Norm norm_of(double p) {
  if (p == 0) return Norm::zero;
  if (p == 1) return Norm::one;
  if (p == 2) return Norm::two;
  return p > 1e300 ? Norm::infinite : Norm::any;
}

// What one difference adds to the sum, or is compared with the largest.
template <Norm norm, class V>
inline V term(V t, V p) {
  const V zero{};
  const V size = select(t < zero, zero - t, t);
  if constexpr (norm == Norm::zero) return select(t != zero, zero + 1, zero);
  if constexpr (norm == Norm::two) return t * t;
  if constexpr (norm == Norm::any) return pow(size, p);
  return size;
}

template <Norm norm, class V>
inline V join(V a, V b) {
  if constexpr (norm == Norm::infinite) return select((b > a) | (b != b), b, a);
  return a + b;
}

// The sum (or the largest) of all terms of two rows; lanes beyond the end add term(0) = 0.
template <Norm norm, class A>
A fold(int64_t n, const A* x, const A* y, A p) {
  using V = vector_t<A>;
  constexpr int64_t L = kLanes<A>;
  const V power = V{} + p;
  V sum[2] = {};
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    sum[0] = join<norm>(sum[0], term<norm>(load(x + i) - load(y + i), power));
    sum[1] = join<norm>(sum[1], term<norm>(load(x + i + L) - load(y + i + L), power));
  }
  for (; i < n; i += L) {
    const int64_t count = std::min(L, n - i);
    const V a = load_wide_part(x + i, count, A{0}), b = load_wide_part(y + i, count, A{0});
    sum[0] = join<norm>(sum[0], term<norm>(a - b, power));
  }
  A lane[L];
  store(lane, join<norm>(sum[0], sum[1]));
  A total = lane[0];
  for (int64_t k = 1; k < L; ++k) {
    if constexpr (norm == Norm::infinite) {
      if (lane[k] > total || lane[k] != lane[k]) total = lane[k];
    } else {
      total += lane[k];
    }
  }
  return total;
}

template <Norm norm, class A>
A distance(int64_t n, const A* x, const A* y, A p) {
  const A sum = fold<norm>(n, x, y, p);
  if constexpr (norm == Norm::two) return std::sqrt(sum);
  if constexpr (norm == Norm::any) return std::pow(sum, 1 / p);
  return sum;
}

// What the rows of x and y share: their means' middle, or 0 where that is no number.
template <class T>
void middle(const T* x, int64_t n, const T* y, int64_t m, int64_t width, accumulator_t<T>* to) {
  using A = accumulator_t<T>;
  const Scratch<A> row(width);
  std::fill_n(to, width, A{0});
  const auto add = [&](const T* from, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      widen(from + i * width, width, row.data());
      for (int64_t k = 0; k < width; ++k) to[k] += row[k] * (A(0.5) / static_cast<A>(count));
    }
  };
  add(x, n);
  add(y, m);
  for (int64_t k = 0; k < width; ++k)
    if (!std::isfinite(to[k])) to[k] = 0;
}

// row -= center; gives Σ row².
template <class A>
A center_block(int64_t n, const A* center, A* row) {
  constexpr int64_t L = kLanes<A>;
  vector_t<A> sum[4] = {};
  int64_t i = 0;
  for (; i + L <= n; i += L) {
    const auto v = load(row + i) - load(center + i);
    store(row + i, v);
    sum[i / L % 4] += v * v;
  }
  A rest = 0;
  for (; i < n; ++i) {
    row[i] -= center[i];
    rest += row[i] * row[i];
  }
  return reduce_add((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest;
}

// Rows [row, row + count) of a matrix, widened; less the middle if there is one, then with norms.
template <class T, class A>
void take_rows(const T* from, int64_t width, int64_t count, const A* center, A* to, A* squares) {
  for (int64_t i = 0; i < count; ++i) {
    A* row = to + i * width;
    widen(from + i * width, width, row);
    squares[i] = 0;
    if (!center) continue;
    double sum = 0;
    for (int64_t k = 0; k < width; k += kBlock)
      sum += center_block(std::min(kBlock, width - k), center + k, row + k);
    squares[i] = static_cast<A>(sum);
  }
}

// Products of whole tiles of rows u with rows v, by parts of the width: (rows, kColumns) in c.
template <class A>
void products(const A* u, int64_t rows, const A* v, int64_t columns, int64_t width, A* right,
              A* c) {
  std::fill_n(c, rows * kColumns, A{0});
  for (int64_t k = 0; k < width; k += kPart) {
    const int64_t deep = std::min(kPart, width - k);
    pack_transposed(v + k, width, columns, deep, right);
    for (int64_t j = 0; j < columns; j += kTileCols<A>)
      for (int64_t i = 0; i < rows; i += kTileRows)
        multiply_tile<false, Start::add>(deep, u + i * width + k, width, right + j * deep,
                                         c + i * kColumns + j, kColumns);
  }
}

template <class T>
struct Forward {
  using A = accumulator_t<T>;
  const Cdist& op;
  Norm norm;

  // The most rows of x and of y in a unit.
  int64_t height() const { return std::min(kRows, op.n + kTileRows - 1); }
  int64_t breadth() const { return std::min(kColumns, op.m); }

  // Products made distances; gives where no digits are lost.
  static auto by_products(A uu, const A* vv, A* to) {
    using V = vector_t<A>;
    const V whole = load(vv) + uu, square = whole - load(to) * 2;
    store(to, sqrt(square));
    return (square >= whole * A(0.125)) & (square > V{});
  }

  // Distances of a block into c, which holds the products for p = 2.
  template <Norm kNorm>
  void fill(const A* u, const A* uu, int64_t rows, const A* v, const A* vv, int64_t columns,
            A* c) const {
    constexpr int64_t L = kNorm == Norm::two ? kLanes<A> : 1;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; j += L) {
        A* to = c + i * kColumns + j;
        typename VectorOf<A>::mask fits{};
        if constexpr (kNorm == Norm::two) fits = by_products(uu[i], vv + j, to);
        for (int64_t k = 0; k < std::min(L, columns - j); ++k)
          if (!fits[k])
            to[k] = distance<kNorm>(op.width, u + i * op.width, v + (j + k) * op.width,
                                    static_cast<A>(op.p));
      }
  }

  void unit(const T* x, int64_t rows, const T* y, int64_t columns, const A* center, A* memory,
            T* out) const {
    const int64_t padded = (rows + kTileRows - 1) / kTileRows * kTileRows;
    A *u = memory, *v = u + height() * op.width, *c = v + breadth() * op.width;
    A *right = c + height() * kColumns, *uu = right + kColumns * kPart, *vv = uu + kRows;
    take_rows(x, op.width, rows, center, u, uu);
    std::fill_n(vv, kColumns, A{1});  // the lanes beyond the last column
    take_rows(y, op.width, columns, center, v, vv);
    switch (norm) {
      case Norm::zero:
        fill<Norm::zero>(u, uu, rows, v, vv, columns, c);
        break;
      case Norm::one:
        fill<Norm::one>(u, uu, rows, v, vv, columns, c);
        break;
      case Norm::two:
        std::fill_n(u + rows * op.width, (padded - rows) * op.width, A{0});
        products(u, padded, v, columns, op.width, right, c);
        fill<Norm::two>(u, uu, rows, v, vv, columns, c);
        break;
      case Norm::any:
        fill<Norm::any>(u, uu, rows, v, vv, columns, c);
        break;
      case Norm::infinite:
        fill<Norm::infinite>(u, uu, rows, v, vv, columns, c);
    }
    for (int64_t i = 0; i < rows; ++i) narrow(c + i * kColumns, columns, out + i * op.m);
  }

  void run() const {
    const T *x = op.x.as<T>(), *y = op.y.as<T>();
    const Scratch<A> centers(norm == Norm::two ? op.batch * op.width : 0);
    if (norm == Norm::two)
      for (int64_t b = 0; b < op.batch; ++b)
        middle(x + b * op.n * op.width, op.n, y + b * op.m * op.width, op.m, op.width,
               centers.data() + b * op.width);
    const int64_t across = (op.m + kColumns - 1) / kColumns;
    const int64_t blocks = (op.n + kRows - 1) / kRows * across;
    parallel_for(op.batch * blocks, 1, [&](int64_t begin, int64_t end) {
      const Scratch<A> memory((height() + breadth()) * op.width + height() * kColumns +
                              kColumns * kPart + kRows + kColumns);
      for (int64_t at = begin; at < end; ++at) {
        const int64_t b = at / blocks, row = at % blocks / across * kRows;
        const int64_t column = at % across * kColumns;
        unit(x + (b * op.n + row) * op.width, std::min(kRows, op.n - row),
             y + (b * op.m + column) * op.width, std::min(kColumns, op.m - column),
             norm == Norm::two ? centers.data() + b * op.width : nullptr, memory.data(),
             op.result.as<T>() + (b * op.n + row) * op.m + column);
      }
    });
  }
};

// sum += g d|t|: for the norms that have a slope.
template <Norm norm, class A>
void add_slope(int64_t n, const A* x, const A* y, A g, A d, A p, A* sum) {
  using V = vector_t<A>;
  constexpr int64_t L = kLanes<A>;
  const V zero{}, power = V{} + (p - 1);
  const A scale = norm == Norm::two || norm == Norm::any ? A(1) / d : A(1);
  for (int64_t i = 0; i < n; i += L) {
    const int64_t count = std::min(L, n - i);
    const V t = count == L
                    ? load(x + i) - load(y + i)
                    : load_wide_part(x + i, count, A{0}) - load_wide_part(y + i, count, A{0});
    V slope;
    if constexpr (norm == Norm::two) {
      slope = t * (g * scale);
    } else {
      const V size = select(t < zero, zero - t, t);
      V amount = zero + g;
      if constexpr (norm == Norm::any) amount = amount * pow(size * scale, power);
      if constexpr (norm == Norm::infinite) amount = select(size == d, amount, zero);
      slope = select(t > zero, amount, select(t < zero, zero - amount, zero));
    }
    for (int64_t k = 0; k < count; ++k) sum[i + k] += slope[k];
  }
}

template <class T>
void backward_as(const Backward& op) {
  using A = accumulator_t<T>;
  const Norm norm = norm_of(op.p);
  const int64_t width = op.width;
  const T *g = op.g.as<T>(), *result = op.result.as<T>();
  const A p = static_cast<A>(op.p);
  const int64_t grain = std::max<int64_t>(1, 16384 / (op.m * width + 1));
  parallel_for(op.batch * op.n, grain, [&](int64_t begin, int64_t end) {
    const Scratch<A> memory(3 * width);
    A *x = memory.data(), *y = x + width, *sum = y + width;
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / op.n, i = row % op.n;
      widen(op.x.as<T>() + row * width, width, x);
      std::fill_n(sum, width, A{0});
      for (int64_t j = 0; j < op.m && norm != Norm::zero; ++j) {
        const int64_t at = op.transposed ? (b * op.m + j) * op.n + i : row * op.m + j;
        A slope, d;
        widen(g + at, 1, &slope);
        widen(result + at, 1, &d);
        if (d == 0) continue;
        const A* other = y;
        if constexpr (std::is_same_v<T, A>) {
          other = op.y.as<T>() + (b * op.m + j) * width;
        } else {
          widen(op.y.as<T>() + (b * op.m + j) * width, width, y);
        }
        // The result is rounded to its dtype; the largest difference has to be met exactly.
        if (norm == Norm::infinite) d = fold<Norm::infinite>(width, x, other, p);
        if (norm == Norm::one) add_slope<Norm::one>(width, x, other, slope, d, p, sum);
        if (norm == Norm::two) add_slope<Norm::two>(width, x, other, slope, d, p, sum);
        if (norm == Norm::any) add_slope<Norm::any>(width, x, other, slope, d, p, sum);
        if (norm == Norm::infinite) add_slope<Norm::infinite>(width, x, other, slope, d, p, sum);
      }
      narrow(sum, width, op.dx.as<T>() + row * width);
    }
  });
}

inline void forward(const Cdist& op) {
  visit_float(op.result.dtype, [&](auto tag) {
    Forward<typename decltype(tag)::type>{op, norm_of(op.p)}.run();
  });
}
inline void backward(const Backward& op) {
  visit_float(op.dx.dtype, [&](auto tag) { backward_as<typename decltype(tag)::type>(op); });
}

}  // namespace cdist
