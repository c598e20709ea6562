// A pass folds f(x) over (outer, n, inner) into one number per (outer, inner). The reduced axis is
// cut into chunks of fixed size, whose results are combined in order.
// Included once per target.
#include "cpu/vector_math.h"
#include "cpu/blocks.h"

namespace reduce {

using ::surprisal::reduce::Call;
using ::surprisal::reduce::Kind;

constexpr int64_t kRowChunk = 16384;   // elements of a contiguous chunk
constexpr int64_t kColumnChunk = 256;  // rows of a strided one
constexpr int64_t kFlush = 32;         // rows added in C before they go to the wide total
constexpr int64_t kGrain = 32768;      // elements worth waking a thread for

// Where partial and final results live: float64, or int64 for integers.
template <class C>
using Wide = std::conditional_t<std::is_same_v<C, int64_t>, int64_t, double>;

// A few results live on the stack, so that small tensors allocate nothing.
template <class T>
class Results {
 public:
  explicit Results(int64_t n) : scratch_(n > kInline ? n : 0) {}
  T* data() { return scratch_.data() ? scratch_.data() : inline_; }

 private:
  static constexpr int64_t kInline = 64;
  T inline_[kInline];
  Scratch<T> scratch_;
};

template <class V, class C>
inline V constant(C x) {
  return x - V{};
}

// f(x) of a pass; s is a number per result, p a parameter.
struct Identity {
  template <class V>
  static V at(V x, V, V) {
    return x;
  }
};
struct Magnitude {
  template <class V>
  static V at(V x, V, V) {
    return select(x < V{}, -x, x);
  }
};
struct Square {
  template <class V>
  static V at(V x, V, V) {
    return x * x;
  }
};
struct Power {
  template <class V>
  static V at(V x, V, V p) {
    return pow(abs(x), p);
  }
};
struct SquaredDifference {
  template <class V>
  static V at(V x, V s, V) {
    return (x - s) * (x - s);
  }
};
struct ExpDifference {
  template <class V>
  static V at(V x, V s, V) {
    return exp(x - s);
  }
};
struct Matches {
  template <class V>
  static V at(V x, V s, V) {
    return select((x == s) | ((x != x) & (s != s)), V{} + 1, V{});
  }
};

struct Sum {
  template <class T>
  static T first() {
    return T{};
  }
  template <class T>
  static T fold(T a, T x) {
    // Integers wrap, as unsigned ones may.
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(uint64_t(a) + uint64_t(x));
    else
      return a + x;
  }
};
// Once a is NaN nothing replaces it. The first value of a lane is the least number of its type.
struct Max {
  template <class T>
  static T first() {
    using L = std::numeric_limits<T>;
    return L::has_infinity ? -L::infinity() : L::lowest();
  }
  template <class T>
  static T fold(T a, T x) {
    if constexpr (std::is_scalar_v<T>)
      return (x > a || x != x) ? x : a;
    else
      return select((x > a) | (x != x), x, a);
  }
};
struct Min {
  template <class T>
  static T first() {
    using L = std::numeric_limits<T>;
    return L::has_infinity ? L::infinity() : L::max();
  }
  template <class T>
  static T fold(T a, T x) {
    if constexpr (std::is_scalar_v<T>)
      return (x < a || x != x) ? x : a;
    else
      return select((x < a) | (x != x), x, a);
  }
};

template <class C, class Map, class Fold>
C fold_block(const C* x, int64_t n, C shift, C parameter) {
  using V = vector_t<C>;
  constexpr int64_t kStep = kLanes<C>;
  const V s = constant<V>(shift), p = constant<V>(parameter);
  V sum[4];
  for (V& v : sum) v = constant<V>(Fold::template first<C>());
  int64_t i = 0;
  for (; i + 4 * kStep <= n; i += 4 * kStep)
    for (int k = 0; k < 4; ++k) sum[k] = Fold::fold(sum[k], Map::at(load(x + i + k * kStep), s, p));
  for (; i + kStep <= n; i += kStep) sum[0] = Fold::fold(sum[0], Map::at(load(x + i), s, p));
  if (i < n) {
    C lane[kStep] = {};
    for (int64_t j = 0; i + j < n; ++j) lane[j] = x[i + j];
    store(lane, Map::at(load(lane), s, p));
    for (int64_t j = n - i; j < kStep; ++j) lane[j] = Fold::template first<C>();
    sum[1] = Fold::fold(sum[1], load(lane));
  }
  C lane[kStep];
  store(lane, Fold::fold(Fold::fold(sum[0], sum[1]), Fold::fold(sum[2], sum[3])));
  for (int64_t width = kStep / 2; width > 0; width /= 2)
    for (int64_t j = 0; j < width; ++j) lane[j] = Fold::fold(lane[j], lane[j + width]);
  return lane[0];
}

template <class C, class Map, class Fold>
struct Pass {
  const Call& call;
  const C* shift;  // (outer, inner), or null
  C parameter;

  void run(Wide<C>* out) const {
    const bool rows = call.inner == 1;
    const int64_t chunk = rows ? kRowChunk : kColumnChunk;
    const int64_t chunks = std::max<int64_t>(1, (call.n + chunk - 1) / chunk);
    const int64_t results = call.outer * call.inner;
    if (chunks == 1) return rows ? fold_rows(1, out) : fold_columns(1, out);
    // Partial results lie as (chunks, outer, inner).
    Results<Wide<C>> partial(chunks * results);
    rows ? fold_rows(chunks, partial.data()) : fold_columns(chunks, partial.data());
    std::copy_n(partial.data(), results, out);
    for (int64_t k = 1; k < chunks; ++k)
      for (int64_t i = 0; i < results; ++i)
        out[i] = Fold::fold(out[i], partial.data()[k * results + i]);
  }

  void fold_rows(int64_t chunks, Wide<C>* out) const {
    const int64_t grain =
        std::max<int64_t>(1, kGrain / std::max<int64_t>(1, std::min(call.n, kRowChunk)));
    parallel_for(call.outer * chunks, grain, [&](int64_t first, int64_t last) {
      alignas(64) C buffer[kBlock];
      for (int64_t unit = first; unit < last; ++unit) {
        const int64_t row = unit % call.outer, k = unit / call.outer;
        const int64_t end = std::min(call.n, (k + 1) * kRowChunk);
        const C s = shift ? shift[row] : C{};
        Wide<C> total = Fold::template first<Wide<C>>();
        for (int64_t i = k * kRowChunk; i < end; i += kBlock) {
          const int64_t count = std::min(kBlock, end - i);
          const C* x = block_of(call.a, row * call.n + i, count, buffer);
          total = Fold::fold(
              total, static_cast<Wide<C>>(fold_block<C, Map, Fold>(x, count, s, parameter)));
        }
        out[unit] = total;
      }
    });
  }

  void fold_columns(int64_t chunks, Wide<C>* out) const {
    const int64_t tiles = (call.inner + kBlock - 1) / kBlock;
    const int64_t work = std::min(call.n, kColumnChunk) * std::min(call.inner, kBlock);
    const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, work));
    parallel_for(call.outer * tiles * chunks, grain, [&](int64_t first, int64_t last) {
      for (int64_t unit = first; unit < last; ++unit) {
        const int64_t tile = unit % tiles, o = unit / tiles % call.outer;
        const int64_t k = unit / (tiles * call.outer);
        fold_tile(o, k, tile * kBlock, out + (k * call.outer + o) * call.inner);
      }
    });
  }

  // Columns [column, column + kBlock) of chunk k of the outer index o.
  void fold_tile(int64_t o, int64_t k, int64_t column, Wide<C>* out) const {
    using V = vector_t<C>;
    constexpr int64_t kStep = kLanes<C>;
    const int64_t count = std::min(kBlock, call.inner - column);
    const V p = constant<V>(parameter);
    alignas(64) C sum[kBlock], s[kBlock] = {}, buffer[kBlock] = {};
    if (shift) std::copy_n(shift + o * call.inner + column, count, s);
    std::fill_n(out + column, count, Fold::template first<Wide<C>>());
    const int64_t end = std::min(call.n, (k + 1) * kColumnChunk);
    for (int64_t r = k * kColumnChunk; r < end;) {
      std::fill_n(sum, kBlock, Fold::template first<C>());
      for (const int64_t stop = std::min(end, r + kFlush); r < stop; ++r) {
        const C* x = block_of(call.a, (o * call.n + r) * call.inner + column, count, buffer);
        if (x != buffer && count % kStep) {
          std::copy_n(x, count, buffer);  // whole vectors must not read past the tensor
          x = buffer;
        }
        for (int64_t i = 0; i < count; i += kStep)
          store(sum + i, Fold::fold(load(sum + i), Map::at(load(x + i), load(s + i), p)));
      }
      for (int64_t i = 0; i < count; ++i)
        out[column + i] = Fold::fold(out[column + i], static_cast<Wide<C>>(sum[i]));
    }
  }
};

template <class C, class Map, class Fold>
void fold(const Call& call, Wide<C>* out, const C* shift = nullptr) {
  Pass<C, Map, Fold>{call, shift, static_cast<C>(call.p)}.run(out);
}

// Writes value(i) for every result, as the dtype of `to`.
template <class C, class F>
void write(const View& to, F value) {
  alignas(64) C block[kBlock];
  for (int64_t begin = 0; begin < to.size; begin += kBlock) {
    const int64_t count = std::min(kBlock, to.size - begin);
    for (int64_t i = 0; i < count; ++i) block[i] = static_cast<C>(value(begin + i));
    store_block(to.dtype, block, count, to.data, begin);
  }
}

// The first position of the extreme value among n, for each result.
template <class C>
void positions(const Call& call, const Wide<C>* extreme) {
  int32_t* out = call.out.template as<int32_t>();
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, call.n));
  const auto is = [](C x, C wanted) { return x == wanted || (x != x && wanted != wanted); };
  parallel_for(call.outer * call.inner, grain, [&](int64_t first, int64_t last) {
    alignas(64) C buffer[kBlock];
    for (int64_t i = first; i < last; ++i) {
      const C wanted = static_cast<C>(extreme[i]);
      const int64_t base = i / call.inner * call.n * call.inner + i % call.inner;
      out[i] = 0;
      bool found = false;
      for (int64_t r = 0; r < call.n && !found;) {
        const int64_t count = call.inner == 1 ? std::min(kBlock, call.n - r) : 1;
        const C* x = block_of(call.a, base + r * call.inner, count, buffer);
        for (int64_t j = 0; j < count && !found; ++j) {
          found = is(x[j], wanted);
          if (found) out[i] = static_cast<int32_t>(r + j);
        }
        r += count;
      }
    }
  });
}

template <class C>
void variance(const Call& call, Wide<C>* total) {
  const int64_t results = call.outer * call.inner;
  const double n = static_cast<double>(call.n);
  fold<C, Identity, Sum>(call, total);
  Results<C> mean(results);
  Results<double> rest(results);  // of the mean, lost by rounding it to C
  for (int64_t i = 0; i < results; ++i) {
    mean.data()[i] = static_cast<C>(total[i] / n);
    rest.data()[i] = total[i] / n - mean.data()[i];
  }
  if (call.extra) write<C>(call.extra, [&](int64_t i) { return mean.data()[i]; });
  fold<C, SquaredDifference, Sum>(call, total, mean.data());
  const double divisor = std::max(0.0, n - call.p);
  for (int64_t i = 0; i < results; ++i) {
    const double squares = total[i] - n * rest.data()[i] * rest.data()[i];
    const double var = (squares < 0 ? 0 : squares) / divisor;
    total[i] = call.kind == Kind::std ? std::sqrt(var) : var;
  }
}

template <class C>
void log_sum_exp(const Call& call, Wide<C>* total) {
  const int64_t results = call.outer * call.inner;
  Results<C> shift(results);
  fold<C, Identity, Max>(call, total);
  for (int64_t i = 0; i < results; ++i) {
    const C top = static_cast<C>(total[i]);
    shift.data()[i] = std::isinf(top) ? C(0) : top;  // inf - inf would be NaN
  }
  fold<C, ExpDifference, Sum>(call, total, shift.data());
  for (int64_t i = 0; i < results; ++i) total[i] = std::log(total[i]) + shift.data()[i];
}

template <class C>
void norm(const Call& call, Wide<C>* total) {
  const int64_t results = call.outer * call.inner;
  if (call.p == 1) return fold<C, Magnitude, Sum>(call, total);
  if (std::isinf(call.p)) {
    fold<C, Magnitude, Max>(call, total);
    for (int64_t i = 0; i < results; ++i) total[i] = std::max(total[i], 0.0);  // of nothing
    return;
  }
  if (call.p == 2) {
    fold<C, Square, Sum>(call, total);
    for (int64_t i = 0; i < results; ++i) total[i] = std::sqrt(total[i]);
    return;
  }
  fold<C, Power, Sum>(call, total);
  for (int64_t i = 0; i < results; ++i) total[i] = std::pow(total[i], 1 / call.p);
}

template <class C>
void run_float(const Call& call, Wide<C>* total) {
  switch (call.kind) {
    case Kind::var:
    case Kind::std:
      return variance<C>(call, total);
    case Kind::logsumexp:
      return log_sum_exp<C>(call, total);
    case Kind::norm:
      return norm<C>(call, total);
    case Kind::count_equal: {
      const int64_t results = call.outer * call.inner;
      Results<C> wanted(results);
      load_block(call.extra.dtype, call.extra.data, 0, results, wanted.data());
      return fold<C, Matches, Sum>(call, total, wanted.data());
    }
    default:
      throw Error(Code::internal, "reduce: unknown kind");
  }
}

template <class C>
void run_as(const Call& call) {
  Results<Wide<C>> total(call.outer * call.inner);
  switch (call.kind) {
    case Kind::sum: {
      fold<C, Identity, Sum>(call, total.data());
      if constexpr (!std::is_same_v<C, int64_t>)
        return write<C>(call.out, [&](int64_t i) { return total.data()[i] * call.p; });
      break;
    }
    case Kind::max:
    case Kind::argmax:
      fold<C, Identity, Max>(call, total.data());
      break;
    case Kind::min:
    case Kind::argmin:
      fold<C, Identity, Min>(call, total.data());
      break;
    default:
      if constexpr (std::is_same_v<C, int64_t>) {
        throw Error(Code::invalid_type, "reduce: expected a float dtype");
      } else {
        run_float<C>(call, total.data());
      }
  }
  if (call.kind == Kind::argmax || call.kind == Kind::argmin)
    return positions<C>(call, total.data());
  write<C>(call.out, [&](int64_t i) { return total.data()[i]; });
}

inline void run(const Call& call) {
  switch (call.a.dtype) {
    case DType::f64:
      return run_as<double>(call);
    case DType::f32:
    case DType::f16:
    case DType::bf16:
      return run_as<float>(call);
    default:
      return run_as<int64_t>(call);
  }
}

}  // namespace reduce
