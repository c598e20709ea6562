// What a LogitStream (cpu/logit_stream.h) is given: the problem, the op's terms; and how it reads
// and writes rows of any dtype. Included inside a target's namespace, before cpu/logit_filter.h.

// Which rows have which target, and dz there, which stays out of the products: beside it, up to 1,
// every p·x would be rounded away. It is added to the sums of the others, row by row.
template <class A>
class LogitTargets {
 public:
  LogitTargets(const int64_t* target, int64_t n) : n_(n), order_(n), sorted_(n), dz_(n) {
    for (int64_t i = 0; i < n; ++i) order_[i] = i;
    std::sort(order_.data(), order_.data() + n, [&](int64_t a, int64_t b) {
      return target[a] != target[b] ? target[a] < target[b] : a < b;
    });
    for (int64_t i = 0; i < n; ++i) sorted_[i] = target[order_[i]];
    std::fill_n(dz_.data(), n, A{0});
  }

  static int64_t row_bytes() { return 2 * sizeof(int64_t) + sizeof(A); }

  // Calls f(row) for the rows whose target is the column, in order.
  template <class F>
  void each_row(int64_t column, F&& f) const {
    const int64_t* const end = sorted_.data() + n_;
    const int64_t* y = std::lower_bound<const int64_t*>(sorted_.data(), end, column);
    for (; y < end && *y == column; ++y) f(order_[y - sorted_.data()]);
  }
  A& dz(int64_t row) { return dz_[row]; }

 private:
  const int64_t n_;
  Scratch<int64_t> order_, sorted_;
  Scratch<A> dz_;
};

// What an op makes of z. Rows count from the start of the wave.
template <class A>
struct LogitTerms {
  // A wave of `rows` (a multiple of kTileCols) begins; `memory` has row_bytes for each of them.
  virtual void begin(void* memory, int64_t first, int64_t rows) = 0;
  // z (columns, kTileCols) of the columns from `column` and the panel of rows from `row`. The
  // columns of a strip come in order; strips run in parallel. A companion's panel lies
  // kLogitPanelStride further, and has no call of its own.
  virtual void sums(int64_t strip, int64_t row, int64_t column, int64_t columns, const A* z) = 0;
  virtual void merge() {}    // strips to rows, once every column was seen
  virtual void prepare() {}  // before slopes, whether or not this wave had sums
  // z (rows) of one column becomes dz, and 0 for rows beyond the last and at targets, whose dz goes
  // to LogitTargets. `peak` (rows), if given, keeps the largest p off the target.
  virtual void slopes(int64_t column, int64_t row, int64_t rows, A* z, A* peak) {
    (void)column, (void)row, (void)rows, (void)z, (void)peak;
  }

 protected:
  ~LogitTerms() = default;
};

template <class A>
struct LogitProblem {
  DType dtype = DType::f32;      // of x and w
  const void* x = nullptr;       // (.., D)
  const int64_t* row = nullptr;  // (n) which rows of x
  const void* w = nullptr;       // (V, D)
  // (V, D) or absent: the odd panels of kTileCols rows are rows of it and are multiplied by it. A
  // row of -1 is empty, and n is then a multiple of two panels.
  const void* companion = nullptr;
  int64_t n = 0, V = 0, D = 0;
  View dx;     // (.., D), of dtype; only the rows in `row` are written
  View dw;     // (V, D), of dtype or float32
  View dbias;  // (V)
  bool add_to_dw = false;
  bool sums = true;    // false: the terms know every row already
  LogitFilter filter;  // block-sparse gradients
  // Of a gradient: the target of each row, -1 for none, and their dz.
  const int64_t* target = nullptr;
  LogitTargets<A>* targets = nullptr;
};

constexpr int64_t kLogitStrips = 32;
// Between the panels of a block: one row more, or they would all compete for the same cache sets.
template <class A>
constexpr int64_t kLogitPanelStride = (kLogitBlock + 1) * kTileCols<A>;

template <class A, class F>
inline void with_storage(DType dtype, F&& f) {
  if constexpr (std::is_same_v<A, double>) {
    f(TypeTag<double>{});
  } else if (dtype == DType::bf16) {
    f(TypeTag<BFloat16>{});
  } else if (dtype == DType::f16) {
    f(TypeTag<Float16>{});
  } else {
    f(TypeTag<float>{});
  }
}

// Rows of dW, which may be float32 where everything else is float64.
template <class A>
inline void load_rows(const void* data, DType dtype, int64_t at, int64_t count, A* to) {
  if (std::is_same_v<A, double> && dtype == DType::f32) {
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<const float*>(data)[at + i];
  } else {
    with_storage<A>(dtype, [&](auto tag) {
      widen(static_cast<const typename decltype(tag)::type*>(data) + at, count, to);
    });
  }
}
template <class A>
inline void store_rows(const A* from, int64_t count, void* data, DType dtype, int64_t at,
                       bool add) {
  if (add) {
    require(dtype == DType::f32, "logits: only a float32 dW is added to");
    float* to = static_cast<float*>(data) + at;
    for (int64_t i = 0; i < count; ++i) to[i] += static_cast<float>(from[i]);
  } else if (std::is_same_v<A, double> && dtype == DType::f32) {
    for (int64_t i = 0; i < count; ++i)
      static_cast<float*>(data)[at + i] = static_cast<float>(from[i]);
  } else {
    with_storage<A>(dtype, [&](auto tag) {
      narrow(from, count, static_cast<typename decltype(tag)::type*>(data) + at);
    });
  }
}

// to += factor·from, one rounding an element; `to` has whole vectors.
template <class A>
inline void add_multiple(A factor, const void* from, DType dtype, int64_t at, int64_t count,
                         A* to) {
  with_storage<A>(dtype, [&](auto tag) {
    const auto* x = static_cast<const typename decltype(tag)::type*>(from) + at;
    for (int64_t i = 0; i < count; i += kLanes<A>) {
      const auto value =
          count - i < kLanes<A> ? load_wide_part(x + i, count - i, A{0}) : load_wide(x + i);
      store(to + i, fma(splat(factor), value, load(to + i)));
    }
  });
}

// Past the caches, where the memory is aligned for it.
template <class A>
inline void stream_rows(const A* from, int64_t count, void* data, DType dtype, int64_t at) {
  with_storage<A>(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* const to = static_cast<T*>(data) + at;
    if (reinterpret_cast<uintptr_t>(to) % sizeof(vector_t<A>) != 0) return narrow(from, count, to);
    const int64_t whole = count / kLanes<A> * kLanes<A>;
    for (int64_t i = 0; i < whole; i += kLanes<A>) stream_narrow(to + i, load(from + i));
    narrow(from + whole, count - whole, to + whole);
  });
}
