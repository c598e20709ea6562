// Compiled once per instruction set by cpu.cpp. Every loop goes by vectors of the accumulator; the
// last, partial one is padded with zeros, which no formula here turns into a trap.
#include "cpu/vector_math.h"

namespace optimiser {

using ::surprisal::optimiser::Adam;
using ::surprisal::optimiser::Scale;
using ::surprisal::optimiser::Sgd;
using ::surprisal::optimiser::SquareSum;

constexpr int64_t kGrain = 1 << 14;
constexpr int64_t kBlock = 4096;

// Calls f(i, count) for the vectors of [0, n): count elements from i on.
template <class A, class F>
inline void each_vector(int64_t n, F&& f) {
  parallel_for((n + kLanes<A> - 1) / kLanes<A>, kGrain / kLanes<A>,
               [&](int64_t begin, int64_t end) {
                 for (int64_t k = begin; k < end; ++k)
                   f(k * kLanes<A>, std::min<int64_t>(kLanes<A>, n - k * kLanes<A>));
               });
}

template <class T>
inline vector_t<accumulator_t<T>> read(const T* p, int64_t count) {
  using A = accumulator_t<T>;
  return count == kLanes<A> ? load_wide(p) : load_wide_part(p, count, A(0));
}
template <class T, class V>
inline void write(T* p, V v, int64_t count) {
  if (count == kLanes<accumulator_t<T>>) {
    store_narrow(p, v);
  } else {
    store_narrow_part(p, v, count);
  }
}

// A parameter as its accumulator sees it: the master copy where there is one.
template <class T>
struct Parameter {
  using A = accumulator_t<T>;
  T* stored;
  A* master;

  explicit Parameter(const View& param, const View& copy)
      : stored(param.as<T>()), master(copy.as<A>()) {}
  vector_t<A> get(int64_t i, int64_t count) const {
    return master ? read(master + i, count) : read(stored + i, count);
  }
  void set(int64_t i, vector_t<A> v, int64_t count) const {
    if (master) write(master + i, v, count);
    write(stored + i, v, count);
  }
};

inline void sgd(const Sgd& op) {
  visit_float(op.param.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = accumulator_t<T>;
    const Parameter<T> param(op.param, op.master);
    const T* grad = op.grad.as<T>();
    A* buffer = op.buffer.as<A>();
    const A lr = A(op.lr), momentum = A(op.momentum), rest = A(1 - op.dampening);
    const A decay = A(op.weight_decay);
    each_vector<A>(op.param.size, [&](int64_t i, int64_t count) {
      const auto p = param.get(i, count);
      auto g = read(grad + i, count);
      if (decay != 0) g = g + decay * p;
      if (buffer) {
        const auto b = op.first ? g : momentum * read(buffer + i, count) + rest * g;
        write(buffer + i, b, count);
        g = op.nesterov ? g + momentum * b : b;
      }
      param.set(i, p - lr * g, count);
    });
  });
}

inline void adam(const Adam& op) {
  visit_float(op.param.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = accumulator_t<T>;
    const Parameter<T> param(op.param, op.master);
    const T* grad = op.grad.as<T>();
    A *m = op.m.as<A>(), *v = op.v.as<A>();
    const A step = A(op.lr / (1 - std::pow(op.beta1, double(op.step))));
    const A root = A(std::sqrt(1 - std::pow(op.beta2, double(op.step))));
    const A decay = A(op.weight_decay), keep = A(1 - op.lr * op.weight_decay);
    const A rate1 = A(1 - op.beta1), beta2 = A(op.beta2), rate2 = A(1 - op.beta2), eps = A(op.eps);
    each_vector<A>(op.param.size, [&](int64_t i, int64_t count) {
      auto p = param.get(i, count);
      auto g = read(grad + i, count);
      if (op.decoupled) {
        p = p * keep;
      } else if (decay != 0) {
        g = g + decay * p;
      }
      auto mean = read(m + i, count), square = read(v + i, count);
      mean = mean + rate1 * (g - mean);
      square = square * beta2 + rate2 * (g * g);
      write(m + i, mean, count);
      write(v + i, square, count);
      param.set(i, p - step * (mean / (sqrt(square) / root + eps)), count);
    });
  });
}

inline double wide_value(double x) { return x; }
template <class T>
inline double wide_value(T x) {
  return to_float(x);
}

// Blocks are summed in float64 lanes, then in order: the same bits for any number of threads.
inline void square_sum(const SquareSum& op) {
  const int64_t blocks = (op.a.size + kBlock - 1) / kBlock;
  Scratch<double> partial(blocks);
  visit_float(op.a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* a = op.a.as<T>();
    parallel_for(blocks, kGrain / kBlock, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const int64_t to = std::min(op.a.size, (b + 1) * kBlock);
        double lane[8] = {};
        int64_t i = b * kBlock;
        for (; i + 8 <= to; i += 8) {
          for (int k = 0; k < 8; ++k) {
            const double x = wide_value(a[i + k]);
            lane[k] += x * x;
          }
        }
        for (int k = 0; i < to; ++i, ++k) lane[k] += wide_value(a[i]) * wide_value(a[i]);
        for (int width = 4; width > 0; width /= 2)
          for (int k = 0; k < width; ++k) lane[k] += lane[k + width];
        partial[b] = lane[0];
      }
    });
  });
  double total = 0;
  for (int64_t b = 0; b < blocks; ++b) total += partial[b];
  *op.out.as<double>() = total;
}

inline void scale(const Scale& op) {
  visit_float(op.a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = accumulator_t<T>;
    const T* a = op.a.as<T>();
    T* out = op.out.as<T>();
    const A factor = A(op.factor);
    each_vector<A>(op.a.size, [&](int64_t i, int64_t count) {
      write(out + i, read(a + i, count) * factor, count);
    });
  });
}

}  // namespace optimiser
