// Compiled once per instruction set by cpu.cpp. Every loop goes by vectors of the accumulator; the
// last, partial one is padded with zeros, which no formula here turns into a trap.
#include "cpu/vector_math.h"

namespace optimiser {

using ::surprisal::optimiser::Adam;
using ::surprisal::optimiser::Rates;
using ::surprisal::optimiser::rates_of;
using ::surprisal::optimiser::Refresh;
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

// An absent array where an optimiser keeps none.
inline View part(const Views& views, size_t i) { return views.empty() ? View{} : views[i]; }

inline Rates rates_or(const View& rates, const Rates& given) {
  if (!rates) return given;
  Rates stored;
  std::memcpy(&stored, rates.as<double>(), sizeof stored);
  return stored;
}

inline void sgd(const Sgd& op) {
  const double rate = rates_or(op.rates, {op.lr, 0, 0, 0}).lr;
  visit_float(op.param[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = accumulator_t<T>;
    const A lr = A(rate), momentum = A(op.momentum), rest = A(1 - op.dampening);
    const A decay = A(op.weight_decay);
    for (size_t k = 0; k < op.param.size(); ++k) {
      const Parameter<T> param(op.param[k], part(op.master, k));
      const T* grad = op.grad[k].as<T>();
      A* buffer = part(op.buffer, k).as<A>();
      each_vector<A>(op.param[k].size, [&](int64_t i, int64_t count) {
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
    }
  });
}

inline void adam(const Adam& op) {
  const Rates rates =
      rates_or(op.rates, rates_of(op.lr, op.beta1, op.beta2, op.weight_decay, op.step));
  visit_float(op.param[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = accumulator_t<T>;
    const A step = A(rates.step), root = A(rates.root), keep = A(rates.keep);
    const A decay = A(op.weight_decay), eps = A(op.eps);
    const A rate1 = A(1 - op.beta1), beta2 = A(op.beta2), rate2 = A(1 - op.beta2);
    for (size_t k = 0; k < op.param.size(); ++k) {
      const Parameter<T> param(op.param[k], part(op.master, k));
      const T* grad = op.grad[k].as<T>();
      A *m = op.m[k].as<A>(), *v = op.v[k].as<A>();
      each_vector<A>(op.param[k].size, [&](int64_t i, int64_t count) {
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
    }
  });
}

inline void refresh(const Refresh& op) {
  const auto run = [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* param = op.param.as<T>();
    float* master = op.master.as<float>();
    parallel_for(op.param.size, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        if (from_float<T>(master[i]).bits != param[i].bits) master[i] = to_float(param[i]);
    });
  };
  op.param.dtype == DType::bf16 ? run(TypeTag<BFloat16>{}) : run(TypeTag<Float16>{});
}

inline double wide_value(double x) { return x; }
template <class T>
inline double wide_value(T x) {
  return to_float(x);
}

// Blocks are summed in float64 lanes, then in order: the same bits for any number of threads.
inline double square_sum_of(const View& view) {
  const int64_t blocks = (view.size + kBlock - 1) / kBlock;
  Scratch<double> partial(blocks);
  visit_float(view.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* a = view.as<T>();
    parallel_for(blocks, kGrain / kBlock, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const int64_t to = std::min(view.size, (b + 1) * kBlock);
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
  return total;
}

inline void square_sum(const SquareSum& op) {
  double total = 0;
  for (const View& a : op.a) total += square_sum_of(a);
  *op.out.as<double>() = total;
}

inline void scale(const Scale& op) {
  const double factor = *op.factor.as<double>();
  const bool scales = !(factor >= 1);  // a NaN scales
  for (size_t k = 0; k < op.a.size(); ++k) {
    if (!scales && op.a[k].data == op.out[k].data) continue;
    visit_float(op.a[k].dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      using A = accumulator_t<T>;
      const T* a = op.a[k].as<T>();
      T* out = op.out[k].as<T>();
      const A by = A(scales ? factor : 1);
      each_vector<A>(op.a[k].size, [&](int64_t i, int64_t count) {
        write(out + i, read(a + i, count) * by, count);
      });
    });
  }
}

}  // namespace optimiser
