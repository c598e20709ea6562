// The inner tile of every matrix product on the CPU, and the packing around it. Included inside a
// target's namespace by an op's kernels. C (6 x 2 vectors) stays in registers over the whole of k:
// 12 accumulators hide the latency of two FMA units, and a k-step loads 2 vectors and 6 scalars
// for 12 FMAs (Goto & van de Geijn 2008, with the roles of Van Zee & van de Geijn 2015).
// The left operand lies by rows (r*stride + k) or by k (k*6 + r), so either order of a matrix
// packs without a transpose. Every element of C sums over k in order, in one lane: its bits do
// not depend on its place in a tile, nor on the other rows and columns.

constexpr int kTileRows = 6;
template <class T>
constexpr int kTileCols = 2 * kLanes<T>;

// zero: C = AB; add: C += AB; chain: the sum over k goes on from C, so that the result does not
// depend on how k was cut.
enum class Start { zero, add, chain };

template <bool by_k, Start start, class T>
__attribute__((noinline)) void multiply_tile(int64_t depth, const T* a, int64_t stride, const T* b,
                                             T* c, int64_t ldc) {
  using V = vector_t<T>;
  constexpr int L = kLanes<T>;
#define ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5)
#define BEGIN(r)                         \
  V p##r{}, q##r{};                      \
  if constexpr (start == Start::chain) { \
    p##r = load(c + r * ldc);            \
    q##r = load(c + r * ldc + L);        \
  } else {                               \
    __builtin_prefetch(c + r * ldc, 1);  \
  }
#define STEP(r)                                 \
  {                                             \
    const V x = splat(by_k ? a[r] : row##r[k]); \
    p##r = fma(x, left, p##r);                  \
    q##r = fma(x, right, q##r);                 \
  }
#define END(r)                           \
  if constexpr (start == Start::add) {   \
    p##r = load(c + r * ldc) + p##r;     \
    q##r = load(c + r * ldc + L) + q##r; \
  }                                      \
  store(c + r * ldc, p##r);              \
  store(c + r * ldc + L, q##r);
#define ROW(r) const T* row##r = a + r * stride;
  ROWS(ROW)
  ROWS(BEGIN)
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    const V left = load(b), right = load(b + L);
    ROWS(STEP)
    b += 2 * L;
    if constexpr (by_k) a += kTileRows;
  }
  ROWS(END)
#undef ROWS
#undef BEGIN
#undef STEP
#undef END
#undef ROW
}

// Depth of one pass over k: a right-hand panel of it fills at most half of a 32 KiB L1 cache. Even
// parts, and a function of k alone.
constexpr int64_t depth_part(int64_t k) {
  constexpr int64_t kLongest = SURPRISAL_TARGET_BYTES > 32 ? 144 : 288;
  const int64_t parts = (k + kLongest - 1) / kLongest;
  return parts ? (k + parts - 1) / parts : 0;
}

template <class T>
inline void widen(const T* from, int64_t count, accumulator_t<T>* to) {
  constexpr int L = kLanes<accumulator_t<T>>;
  int64_t i = 0;
  for (; i + L <= count; i += L) store(to + i, load_wide(from + i));
  if (i < count) {
    const auto last = load_wide_part(from + i, count - i, accumulator_t<T>{0});
    for (int64_t j = 0; i + j < count; ++j) to[i + j] = last[j];
  }
}

template <class T>
inline void narrow(const accumulator_t<T>* from, int64_t count, T* to) {
  constexpr int L = kLanes<accumulator_t<T>>;
  int64_t i = 0;
  for (; i + L <= count; i += L) store_narrow(to + i, load(from + i));
  for (; i < count; ++i) {
    if constexpr (std::is_same_v<T, accumulator_t<T>>) {
      to[i] = from[i];
    } else {
      to[i] = from_float<T>(from[i]);
    }
  }
}

// Left operand by rows: `from` (rows, depth; stride ld) to (rows up to a multiple of 6, depth).
template <class T>
void pack_left_rows(const T* from, int64_t ld, int64_t rows, int64_t depth, accumulator_t<T>* to) {
  for (int64_t r = 0; r < rows; ++r) widen(from + r * ld, depth, to + r * depth);
  const int64_t pad = (rows + kTileRows - 1) / kTileRows * kTileRows - rows;
  std::fill_n(to + rows * depth, pad * depth, accumulator_t<T>{0});
}

// Panels of `width` columns: `from` (depth, columns; stride ld) to (panels, depth, width), zeros
// beyond the last column. Left operand by k with width 6, right operand with width kTileCols.
template <int width, class T>
void pack_columns(const T* from, int64_t ld, int64_t columns, int64_t depth, accumulator_t<T>* to) {
  using A = accumulator_t<T>;
  constexpr int64_t kRows = 8;  // at a time, so that whole cache lines are written
  constexpr int64_t kLine = 40 * width;
  A lines[std::is_same_v<T, A> ? 1 : kRows * kLine];
  for (int64_t first = 0; first < columns; first += kLine, to += kLine * depth) {
    const int64_t count = std::min(kLine, columns - first);
    const int64_t whole = count / width * width;
    for (int64_t k = 0; k < depth; k += kRows) {
      const int64_t rows = std::min(kRows, depth - k);
      const A* row = lines;
      int64_t stride = kLine;
      if constexpr (std::is_same_v<T, A>) {
        row = from + k * ld + first;
        stride = ld;
      } else {
        for (int64_t r = 0; r < rows; ++r)
          widen(from + (k + r) * ld + first, count, lines + r * kLine);
      }
      A* out = to + k * width;
      for (int64_t c = 0; c < whole; c += width, out += depth * width)
        for (int64_t r = 0; r < rows; ++r)
          std::memcpy(out + r * width, row + r * stride + c, width * sizeof(A));
      for (int64_t r = 0; whole < count && r < rows; ++r) {
        std::copy(row + r * stride + whole, row + r * stride + count, out + r * width);
        std::fill(out + r * width + (count - whole), out + (r + 1) * width, A{0});
      }
    }
  }
}

#ifdef SURPRISAL_TARGET_AVX2
// Without shuffles across the halves but for the last step.
inline void transpose(F32 (&row)[8]) {
  F32 a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
    a[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
    b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
    b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
    b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    row[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
    row[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
  }
}
#else
inline void transpose(F32 (&row)[kLanes<float>]) {
  constexpr int L = kLanes<float>;
  F32 next[L];
  for (int step = 1; step < L; step *= 2) {
    for (int i = 0; i < L / 2; ++i) interleave(row[i], row[i + L / 2], next + 2 * i);
    std::copy(next, next + L, row);
  }
}
#endif

// Right operand from its transpose: `from` (columns, depth; stride ld) to (panels, depth, width).
template <class T>
void pack_transposed(const T* from, int64_t ld, int64_t columns, int64_t depth,
                     accumulator_t<T>* to) {
  using A = accumulator_t<T>;
  constexpr int width = kTileCols<A>;
  for (int64_t c = 0; c < columns; c += width, to += width * depth) {
    const int64_t count = std::min<int64_t>(width, columns - c);
    int64_t done = 0;
    if constexpr (std::is_same_v<A, float>) {
      constexpr int L = kLanes<float>;
      for (; count == width && done + L <= depth; done += L) {
        for (int half = 0; half < width; half += L) {
          F32 block[L];
          for (int i = 0; i < L; ++i) block[i] = load_wide(from + (c + half + i) * ld + done);
          transpose(block);
          for (int i = 0; i < L; ++i) store(to + (done + i) * width + half, block[i]);
        }
      }
    }
    for (int64_t j = 0; j < width; ++j) {
      for (int64_t k = done; k < depth; ++k) {
        if (j >= count) {
          to[k * width + j] = 0;
        } else if constexpr (std::is_same_v<T, A>) {
          to[k * width + j] = from[(c + j) * ld + k];
        } else {
          to[k * width + j] = to_float(from[(c + j) * ld + k]);
        }
      }
    }
  }
}
