// Sums of 2^(s + row + column) over tiles of s = k Z. Included inside a target's namespace.

// 2^x, relative error 1.5e-7 (float64: 2e-16); 0 at and below the lowest exponent, and no more than
// about 2^126 (2^1022) above: callers notice sums of that size.
__attribute__((always_inline)) inline F32 power_of_two(F32 x) {
  const F32 y = min(max(x, splat(-127.0f)), splat(126.0f));
  const F32 magic = splat(12582912.0f + 127.0f);  // the sum carries the exponent's bias
  const F32 shifted = y + magic;
  const F32 r = y - (shifted - magic);
  const F32 high = fma(splat(0.001326472731307149f), r, splat(0.009671512991189957f));
  const F32 middle = fma(splat(0.05550733581185341f), r, splat(0.24022242426872253f));
  const F32 square = r * r;
  const F32 p =
      fma(fma(high, square, middle), square, fma(splat(0.6931470036506653f), r, splat(1.0f)));
  return p * reinterpret_cast<F32>(reinterpret_cast<I32>(shifted) << 23);
}
__attribute__((always_inline)) inline F64 power_of_two(F64 x) {
  const F64 y = min(max(x, splat(-1023.0)), splat(1022.0));
  const F64 magic = splat(0x1.8p52 + 1023.0);
  const F64 shifted = y + magic;
  const F64 r = (y - (shifted - magic)) * 0.69314718055994530942;
  F64 p = splat(1.0 / 6227020800);  // Taylor's series: 4e-18 is left at |r| = ln2/2
  for (const double c : {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                         1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0})
    p = fma(p, r, splat(c));
  return p * reinterpret_cast<F64>(reinterpret_cast<I64>(shifted) << 52);
}

// Between these a sum has lost nothing to either end of the range of 2^x.
template <class A>
bool in_range(double sum) {
  if constexpr (std::is_same_v<A, float>) return sum > 0x1p-80 && sum < 0x1p110;
  return sum > 0x1p-900 && sum < 0x1p1000;
}

template <class A>
using Tile = typename Scores<A>::Tile;

// sum[r] += sum over the columns of a tile; the same order for every row.
template <class A, int R>
inline void add_rows(Tile<A> t, int64_t width, A k, const A* row, const A* column, double* sum) {
  using V = vector_t<A>;
  constexpr int L = kLanes<A>;
  V acc[R], own[R];
  for (int r = 0; r < R; ++r) {
    acc[r] = V{};
    own[r] = splat(row[r]);
  }
  const V scale = splat(k);
  for (int64_t j = 0; j < width; j += L) {
    const V c = load(column + j);
    for (int r = 0; r < R; ++r)
      acc[r] = acc[r] + power_of_two(fma(scale, load(t.z + r * t.ld + j), c + own[r]));
  }
  for (int r = 0; r < R; ++r) sum[r] += reduce_add(acc[r]);
}
template <class A>
void sum_rows(Tile<A> t, int64_t count, int64_t width, A k, const A* row, const A* column,
              double* sum) {
  int64_t r = 0;
  for (; r + 4 <= count; r += 4)
    add_rows<A, 4>({t.z + r * t.ld, t.ld}, width, k, row + r, column, sum + r);
  for (; r < count; ++r) add_rows<A, 1>({t.z + r * t.ld, t.ld}, width, k, row + r, column, sum + r);
}

// sum[j] += sum over the rows of a tile; rows in groups of 4 from the first on.
template <class A, int R>
inline void add_columns(Tile<A> t, int64_t width, A k, const A* row, const A* column, A* sum) {
  using V = vector_t<A>;
  constexpr int L = kLanes<A>;
  V own[R];
  for (int r = 0; r < R; ++r) own[r] = splat(row[r]);
  const V scale = splat(k);
  for (int64_t j = 0; j < width; j += L) {
    const V c = load(column + j);
    V e[R];
    for (int r = 0; r < R; ++r)
      e[r] = power_of_two(fma(scale, load(t.z + r * t.ld + j), c + own[r]));
    if constexpr (R == 4) {
      store(sum + j, load(sum + j) + ((e[0] + e[1]) + (e[2] + e[3])));
    } else {
      store(sum + j, load(sum + j) + e[0]);
    }
  }
}
template <class A>
void sum_columns(Tile<A> t, int64_t count, int64_t width, A k, const A* row, const A* column,
                 A* sum) {
  int64_t r = 0;
  for (; r + 4 <= count; r += 4)
    add_columns<A, 4>({t.z + r * t.ld, t.ld}, width, k, row + r, column, sum);
  for (; r < count; ++r) add_columns<A, 1>({t.z + r * t.ld, t.ld}, width, k, row + r, column, sum);
}

// Largest k Z + column of each row, and k Z + row of each column.
template <class A>
void max_rows(Tile<A> t, int64_t count, int64_t width, A k, const A* column, A* most) {
  using V = vector_t<A>;
  for (int64_t r = 0; r < count; ++r, t.z += t.ld) {
    V m = splat(most[r]);
    for (int64_t j = 0; j < width; j += kLanes<A>)
      m = max(fma(splat(k), load(t.z + j), load(column + j)), m);
    most[r] = reduce_max(m);
  }
}
template <class A>
void max_columns(Tile<A> t, int64_t count, int64_t width, A k, const A* row, A* most) {
  using V = vector_t<A>;
  for (int64_t r = 0; r < count; ++r, t.z += t.ld) {
    const V own = splat(row[r]);
    for (int64_t j = 0; j < width; j += kLanes<A>)
      store(most + j, max(fma(splat(k), load(t.z + j), own), load(most + j)));
  }
}
