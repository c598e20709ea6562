// What a reduction folds: per thread an accumulator that takes blocks of N elements in the compute
// type C, at the end a State that lanes, blocks and launches pass on. A block is folded in C, what
// blocks give is kept in float64 (int64 for integers), so that the error does not grow with n.
//   block(x, valid, at)   N elements; bit e of `valid` is clear where x[e] is none (then it is 0);
//                         at(e) is the position of x[e]
//   reduce_lanes          of `lanes` neighbouring lanes; lane 0 has the result
//   join(a, b)            of two states, a before b
#pragma once
#include "ops/reduce/op.h"
#include "ops/reduce/plan.h"

#include "cuda/device.h"
#include "cuda/numbers.h"

namespace surprisal::reduce {

using namespace ::surprisal::cuda;

// The parameters of every kernel.
struct Reduction {
  View a, out, extra;
  void* partial;  // of State; null: results go to `out`
  Kind kind;
  double p;
  int64_t outer, n, inner, rows, chunk, chunks;
  int64_t count, parts, results;  // elements and partial results a result
  int lanes, lane_bits;           // lanes = 2^lane_bits
  Radix kept, folded, result;
  bool staged;
};

template <class C>
using Wide = std::conditional_t<std::is_same_v<C, int64_t>, int64_t, double>;

// Magnitude, and a NaN as the greatest.
template <class T>
__device__ inline bool greater(T x, T y) {
  return x > y || (x != x && y == y);
}
template <class T>
__device__ inline T least() {
  using L = std::numeric_limits<T>;
  return L::has_infinity ? -L::infinity() : L::lowest();
}
__device__ inline float exp_of(float x) { return expf(x); }
__device__ inline double exp_of(double x) { return exp(x); }
__device__ inline float power_of(float x, float y) { return powf(x, y); }
__device__ inline double power_of(double x, double y) { return pow(x, y); }
template <class T>
__device__ inline T magnitude(T x) {
  return x < 0 ? -x : x;
}

// A tree: equal elements add without error up to a power of two of them. Overwrites x.
template <int M, int N, class C>
__device__ inline C pairwise(C (&x)[N]) {
  if constexpr (M == 1) {
    return x[0];
  } else {
#pragma unroll
    for (int e = 0; e < M / 2; ++e) x[e] += x[e + M / 2];
    return pairwise<M / 2>(x);
  }
}
template <int N, class C>
__device__ inline C total(const C (&x)[N]) {
  C y[N];
#pragma unroll
  for (int e = 0; e < N; ++e) y[e] = x[e];
  return pairwise<N>(y);
}

template <class T>
__device__ inline T sum_lanes(T x, int lanes) {
  for (int m = lanes / 2; m > 0; m /= 2) x += shuffle_xor(x, m);
  return x;
}

__device__ inline int count_bits(uint32_t x) {
  int n = 0;
  for (; x; x &= x - 1) ++n;
  return n;
}

__device__ inline void put(const View& view, int64_t i, double x) { NumbersOut(view).set(i, x); }
__device__ inline void put(const View& view, int64_t i, int64_t x) {
  switch (view.dtype) {
    case DType::i64:
      return store(static_cast<int64_t*>(view.data) + i, x);
    case DType::i32:
      return store(static_cast<int32_t*>(view.data) + i, static_cast<int32_t>(x));
    default:
      return store(static_cast<uint8_t*>(view.data) + i, static_cast<uint8_t>(x));
  }
}

// sum, norm of order 1 and 2, count_equal. Map: what is summed.
template <class C_>
struct Sum {
  using C = C_;
  struct State {
    Wide<C> sum;
  };
  Kind kind{};
  double p = 1;
  C wanted{};
  Wide<C> sum{};

  __device__ void begin(const Reduction& op, int64_t result) {
    kind = op.kind;
    p = op.p;
    if constexpr (!std::is_integral_v<C>)
      if (kind == Kind::count_equal) wanted = static_cast<C>(Numbers(op.extra)[result]);
  }
  template <int N, class At>
  __device__ void block(C (&x)[N], uint32_t valid, At) {
    if constexpr (!std::is_integral_v<C>) {
      if (kind == Kind::count_equal) {
#pragma unroll
        for (int e = 0; e < N; ++e) {
          const bool same = x[e] == wanted || (x[e] != x[e] && wanted != wanted);
          x[e] = same && (valid >> e & 1) ? C(1) : C(0);
        }
      } else if (kind == Kind::norm && p == 1) {
#pragma unroll
        for (int e = 0; e < N; ++e) x[e] = magnitude(x[e]);
      } else if (kind == Kind::norm) {
#pragma unroll
        for (int e = 0; e < N; ++e) x[e] *= x[e];
      }
    }
    sum += total(x);
  }
  __device__ State state() const { return {sum}; }
  __device__ static State none() { return {}; }
  __device__ static State reduce_lanes(State s, int lanes) { return {sum_lanes(s.sum, lanes)}; }
  __device__ static State join(State a, State b) { return {a.sum + b.sum}; }
  __device__ static State moved(State s, int64_t) { return s; }
  __device__ static void finish(const Reduction& op, int64_t i, State s) {
    if constexpr (std::is_integral_v<C>) {
      put(op.out, i, s.sum);
    } else if (op.kind == Kind::norm) {
      put(op.out, i, op.p == 1 ? s.sum : sqrt(s.sum));
    } else {
      put(op.out, i, op.kind == Kind::sum ? s.sum * op.p : s.sum);
    }
  }
};

// norm of any other finite order.
template <class C_>
struct PowerSum {
  using C = C_;
  using State = typename Sum<C>::State;
  C p = 1;
  double sum = 0;

  __device__ void begin(const Reduction& op, int64_t) { p = static_cast<C>(op.p); }
  template <int N, class At>
  __device__ void block(C (&x)[N], uint32_t, At) {
    // Rolled: N copies of pow would be most of the program.
    C y = 0;
#pragma unroll 1
    for (int k = 0; k < N; ++k) {
      C v = x[0];
#pragma unroll
      for (int e = 1; e < N; ++e) v = e == k ? x[e] : v;
      y += power_of(magnitude(v), p);
    }
    sum += y;
  }
  __device__ State state() const { return {sum}; }
  __device__ static State none() { return {}; }
  __device__ static State reduce_lanes(State s, int lanes) {
    return Sum<C>::reduce_lanes(s, lanes);
  }
  __device__ static State join(State a, State b) { return {a.sum + b.sum}; }
  __device__ static State moved(State s, int64_t) { return s; }
  __device__ static void finish(const Reduction& op, int64_t i, State s) {
    put(op.out, i, pow(s.sum, 1 / op.p));
  }
};

// max, min, argmax, argmin, norm of order inf: the greatest of x, of what reverses its order, or of
// |x|, and the first place where it stands.
template <class C_>
struct Extreme {
  using C = C_;
  using W = Wide<C>;
  struct State {
    W value;
    int64_t at;
  };
  static constexpr int64_t kNowhere = std::numeric_limits<int64_t>::max();
  Kind kind{};
  State best{least<W>(), kNowhere};

  __device__ static bool takes(W x, int64_t x_at, W y, int64_t y_at) {
    return greater(x, y) || (!greater(y, x) && x_at < y_at);
  }
  template <class T>
  __device__ static T mapped(Kind kind, T x) {
    if (kind == Kind::norm) return magnitude(x);
    if (kind == Kind::max || kind == Kind::argmax) return x;
    if constexpr (std::is_integral_v<T>)
      return ~x;
    else
      return -x;
  }
  __device__ void begin(const Reduction& op, int64_t) { kind = op.kind; }
  template <int N, class At>
  __device__ void block(C (&x)[N], uint32_t valid, At at) {
#pragma unroll
    for (int e = 0; e < N; ++e) x[e] = mapped(kind, x[e]);
    if (valid != ~0u >> (32 - N)) {
#pragma unroll
      for (int e = 0; e < N; ++e)
        if (!(valid >> e & 1)) x[e] = least<C>();
    }
    C top = x[0];
    int where = 0;
#pragma unroll
    for (int e = 1; e < N; ++e) {
      if (greater(x[e], top)) {
        top = x[e];
        where = e;
      }
    }
    // What is none comes after everything: it never wins against an element.
    const State found{static_cast<W>(top), valid ? at(where) : kNowhere};
    best = join(best, found);
  }
  __device__ State state() const { return best; }
  __device__ static State none() { return {least<W>(), kNowhere}; }
  __device__ static State reduce_lanes(State s, int lanes) {
    for (int m = lanes / 2; m > 0; m /= 2)
      s = join(s, State{shuffle_xor(s.value, m), shuffle_xor(s.at, m)});
    return s;
  }
  __device__ static State join(State a, State b) {
    return takes(b.value, b.at, a.value, a.at) ? b : a;
  }
  __device__ static State moved(State s, int64_t by) { return {s.value, s.at + by}; }
  __device__ static void finish(const Reduction& op, int64_t i, State s) {
    if (op.kind == Kind::argmax || op.kind == Kind::argmin) {
      return store(static_cast<int32_t*>(op.out.data) + i, static_cast<int32_t>(s.at));
    }
    if (op.kind == Kind::norm) return put(op.out, i, s.value < 0 ? W{} : s.value);
    put(op.out, i, mapped(op.kind, s.value));
  }
};

// sum = Σ e^(x - top), where an infinite top stands for 0: inf - inf would be NaN.
template <class C_>
struct LogSum {
  using C = C_;
  struct State {
    double top, sum;
  };
  C top = least<C>();
  double sum = 0;

  template <class T>
  __device__ static T finite(T top) {
    return magnitude(top) == std::numeric_limits<T>::infinity() ? T(0) : top;
  }
  // The sum's factor when the top changes. A float32 sum needs no float64 exponential.
  __device__ static double factor(double from, double to) {
    return exp_of(static_cast<C>(finite(from) - finite(to)));
  }
  __device__ void begin(const Reduction&, int64_t) {}
  template <int N, class At>
  __device__ void block(C (&x)[N], uint32_t valid, At) {
    if (valid != ~0u >> (32 - N)) {
#pragma unroll
      for (int e = 0; e < N; ++e)
        if (!(valid >> e & 1)) x[e] = least<C>();
    }
    C peak = top;
#pragma unroll
    for (int e = 0; e < N; ++e) peak = greater(x[e], peak) ? x[e] : peak;
    if (greater(peak, top)) {
      if (sum != 0) sum *= factor(top, peak);
      top = peak;
    }
    const C shift = finite(top);
#pragma unroll
    for (int e = 0; e < N; ++e) x[e] = exp_of(x[e] - shift);
    sum += total(x);
  }
  __device__ State state() const { return {top, sum}; }
  __device__ static State none() { return {least<double>(), 0}; }
  // First the top of all, so that each lane takes one exponential, not one for every step.
  __device__ static State reduce_lanes(State s, int lanes) {
    double all = s.top;
    for (int m = lanes / 2; m > 0; m /= 2) {
      const double other = shuffle_xor(all, m);
      all = greater(other, all) ? other : all;
    }
    const double sum = s.sum != 0 && s.top != all ? s.sum * factor(s.top, all) : s.sum;
    return {all, sum_lanes(sum, lanes)};
  }
  __device__ static State join(State a, State b) {
    if (a.top == b.top) return {a.top, a.sum + b.sum};
    const bool up = greater(b.top, a.top);
    const State high = up ? b : a, low = up ? a : b;
    return {high.top, high.sum + (low.sum != 0 ? low.sum * factor(low.top, high.top) : 0)};
  }
  __device__ static State moved(State s, int64_t) { return s; }
  __device__ static void finish(const Reduction& op, int64_t i, State s) {
    put(op.out, i, log(s.sum) + finite(s.top));
  }
};

// var, std. A block takes its squares around its own mean, in C; the blocks of a thread are added
// around the first one's mean k, and states around the mean of all (Chan, Golub and LeVeque 1979).
// So nothing cancels, whatever the mean is beside the deviation.
template <class C_>
struct Moments {
  using C = C_;
  struct State {
    double n, sum, squares;  // squares: Σ (x - sum/n)^2
  };
  C k{};
  double n = 0, first = 0, second = 0;  // Σ (x - k), Σ (x - k)^2

  __device__ void begin(const Reduction&, int64_t) {}
  template <int N, class At>
  __device__ void block(C (&x)[N], uint32_t valid, At) {
    const bool full = valid == ~0u >> (32 - N);
    const int count = full ? N : count_bits(valid);
    if (count == 0) return;
    const C mean = total(x) / static_cast<C>(count);
    if (!full) {
#pragma unroll
      for (int e = 0; e < N; ++e)
        if (!(valid >> e & 1)) x[e] = mean;
    }
#pragma unroll
    for (int e = 0; e < N; ++e) x[e] -= mean;
    const double rest = total(x);  // what rounding the mean left
#pragma unroll
    for (int e = 0; e < N; ++e) x[e] *= x[e];
    const double squares = total(x);
    if (n == 0) k = mean;
    const double apart = static_cast<double>(mean) - static_cast<double>(k);
    n += count;
    first += count * apart + rest;
    second += squares + apart * (2 * rest + count * apart);
  }
  __device__ State state() const {
    if (n == 0) return none();
    return {n, static_cast<double>(k) * n + first, second - first * first / n};
  }
  __device__ static State none() { return {0, 0, 0}; }
  __device__ static State reduce_lanes(State s, int lanes) {
    if (lanes == 1) return s;
    const double n = sum_lanes(s.n, lanes), sum = sum_lanes(s.sum, lanes);
    const double apart = s.n == 0 ? 0 : s.sum / s.n - sum / n;
    return {n, sum, sum_lanes(s.squares + s.n * apart * apart, lanes)};
  }
  __device__ static State join(State a, State b) {
    if (b.n == 0) return a;
    if (a.n == 0) return b;
    const double n = a.n + b.n, apart = b.sum / b.n - a.sum / a.n;
    return {n, a.sum + b.sum, a.squares + b.squares + apart * apart * (a.n * b.n / n)};
  }
  __device__ static State moved(State s, int64_t) { return s; }
  __device__ static void finish(const Reduction& op, int64_t i, State s) {
    if (op.extra.data) put(op.extra, i, s.sum / s.n);
    const double n = static_cast<double>(op.count);
    const double divisor = n > op.p ? n - op.p : 0;
    const double var = (s.squares < 0 ? 0 : s.squares) / divisor;
    put(op.out, i, op.kind == Kind::std ? sqrt(var) : var);
  }
};

}  // namespace surprisal::reduce
