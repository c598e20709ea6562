// The plan of a problem, its loss and the loss' gradient by W, by one block: the passes of
// core/log_scaling.h, of powers where W/lambda fits the exponents of float64 (cpu/matrix_scaling.h:
// kScalingRange), else of their logarithms. Rows by warps, columns by parts of rows that are merged
// in order: who adds what depends on the number of rows alone.
#pragma once
#include <limits>

#include "ops/sinkd/device.h"

namespace surprisal::sinkd {

constexpr int kTransportWarps = kTransportThreads / kWarp;

struct TransportWork {
  Rows rows;
  const double* w;  // (problems, B, B), of which the first count x count are used, as of all such
  double* k;        // the same; null: in shared memory
  double* slopes;   // the same; may be absent
  double* vectors;  // (problems, vectors_of(B, iterations))
  double* loss;     // (problems)
  int64_t iterations;
  double lambda, weight;
  bool detached, powers;
};

class Transport {
 public:
  __device__ Transport(const TransportWork& work, int64_t problem)
      : work_(work), n_(load(work.rows.count + problem)), powers_(work.powers) {
    const int64_t square = work.rows.rows * work.rows.rows;
    w_ = work.w + problem * square;
    k_ = work.k ? work.k + problem * square : &shared<double>() + kBlockWarps;
    d_ = work.slopes ? work.slopes + problem * square : nullptr;
    double* at = work.vectors + problem * vectors_of(work.rows.rows, work.iterations);
    const auto take = [&](int64_t count) {
      double* const from = at;
      at += count;
      return from;
    };
    u_ = take((work.iterations + 1) * n_);
    v_ = take((work.iterations + 1) * n_);
    du_ = take(n_);
    dv_ = take(n_);
    parts_ = at;
  }

  // The loss.
  __device__ double run() {
    const int64_t all = int64_t{n_} * n_;
    if (n_ == 0) return 0;
    for (int64_t e = thread_index(); e < all; e += kTransportThreads) {
      const double s = -load(w_ + e) / work_.lambda;
      store(k_ + e, powers_ ? std::exp(s) : s);
    }
    for (int j = thread_index(); j < n_; j += kTransportThreads) {
      store(u_ + j, powers_ ? 1.0 : 0.0);
      store(v_ + j, powers_ ? 1.0 : 0.0);
    }
    sync_threads();  // K and the first potentials are there
    for (int64_t t = 1; t <= work_.iterations; ++t) powers_ ? scale(t) : scale_logarithms(t);
    const int64_t last = work_.iterations;
    double loss = 0;
    for (int64_t e = thread_index(); e < all; e += kTransportThreads) {
      const double plan = share(static_cast<int>(e / n_), static_cast<int>(e % n_), last, last);
      loss += plan * load(w_ + e);
      // Unrolled: the gradient by S, times -lambda so far.
      if (d_) store(d_ + e, plan - (work_.detached ? 0 : plan * load(w_ + e) / work_.lambda));
    }
    if (d_ && !work_.detached) differentiate();
    return sum_over_block(loss, &shared<double>());
  }

 private:
  __device__ double at(int i, int j) const { return load(k_ + int64_t{i} * n_ + j); }
  // Of the plan after these potentials.
  __device__ double share(int i, int j, int64_t tu, int64_t tv) const {
    const double u = load(u_ + tu * n_ + i), v = load(v_ + tv * n_ + j);
    return powers_ ? at(i, j) * u * v : std::exp(at(i, j) + u + v);
  }

  // Calls take(i, the sum over j of f(i, j)).
  template <class F, class Take>
  __device__ void each_row(F&& f, Take&& take) const {
    for (int i = warp_index(); i < n_; i += kTransportWarps) {
      double sum = 0;
      for (int j = lane_index(); j < n_; j += kWarp) sum += f(i, j);
      sum = warp_sum(sum);
      if (lane_index() == 0) take(i, sum);
    }
    sync_threads();  // what was taken is there
  }
  template <class F, class Merge, class Take>
  __device__ void each_column(double start, F&& f, Merge&& merge, Take&& take) const {
    const int groups = (n_ + kWarp - 1) / kWarp, width = groups * kWarp;
    const int parts = groups < kTransportWarps ? kTransportWarps / groups : 1;
    for (int unit = warp_index(); unit < groups * parts; unit += kTransportWarps) {
      const int j = unit % groups * kWarp + lane_index(), part = unit / groups;
      double x = start;
      for (int i = part; i < n_ && j < n_; i += parts) x = merge(x, f(i, j));
      store(parts_ + part * width + j, x);
    }
    sync_threads();  // parts are there
    for (int j = thread_index(); j < n_; j += kTransportThreads) {
      double x = load(parts_ + j);
      for (int part = 1; part < parts; ++part) x = merge(x, load(parts_ + part * width + j));
      take(j, x);
    }
    sync_threads();  // what was taken is there, and parts are read
  }
  static __device__ double plus(double a, double b) { return a + b; }
  static __device__ double larger(double a, double b) { return b > a || b != b ? b : a; }
  static __device__ double inverse(double x) { return x == 0 ? 0 : 1 / x; }

  __device__ void scale(int64_t t) {
    const double* const before = v_ + (t - 1) * n_;
    double *const u = u_ + t * n_, *const v = v_ + t * n_;
    each_row([&](int i, int j) { return at(i, j) * load(before + j); },
             [&](int i, double sum) { store(u + i, inverse(sum)); });
    each_column(
        0, [&](int i, int j) { return at(i, j) * load(u + i); }, plus,
        [&](int j, double sum) { store(v + j, inverse(sum)); });
  }
  // The same of logarithms, less the largest.
  __device__ void scale_logarithms(int64_t t) {
    const double* const before = v_ + (t - 1) * n_;
    double *const u = u_ + t * n_, *const v = v_ + t * n_;
    constexpr double kNone = -std::numeric_limits<double>::infinity();
    for (int i = warp_index(); i < n_; i += kTransportWarps) {
      double top = kNone, sum = 0;
      for (int j = lane_index(); j < n_; j += kWarp) top = larger(top, at(i, j) + load(before + j));
      top = warp_max(top);
      for (int j = lane_index(); j < n_; j += kWarp)
        sum += std::exp(at(i, j) + load(before + j) - top);
      sum = warp_sum(sum);
      if (lane_index() == 0) store(u + i, -top - std::log(sum));
    }
    sync_threads();  // u is there
    each_column(
        kNone, [&](int i, int j) { return at(i, j) + load(u + i); }, larger,
        [&](int j, double top) { store(v + j, top); });
    each_column(
        0, [&](int i, int j) { return std::exp(at(i, j) + load(u + i) - load(v + j)); }, plus,
        [&](int j, double sum) { store(v + j, -load(v + j) - std::log(sum)); });
  }

  // d becomes plan - (the gradient by S)/lambda, back through the iterations.
  __device__ void differentiate() {
    const int64_t last = work_.iterations;
    const double less = 1 / work_.lambda;
    const auto own = [&](int i, int j) {
      return share(i, j, last, last) * load(w_ + int64_t{i} * n_ + j);
    };
    each_row(own, [&](int i, double sum) { store(du_ + i, sum); });
    each_column(0, own, plus, [&](int j, double sum) { store(dv_ + j, sum); });
    const auto take_off = [&](int i, int j, double x) {
      double* const at = d_ + int64_t{i} * n_ + j;
      store(at, load(at) + x * less);
      return x;
    };
    for (int64_t t = last; t > 0; --t) {
      each_row([&](int i, int j) { return take_off(i, j, share(i, j, t, t) * load(dv_ + j)); },
               [&](int i, double sum) { store(du_ + i, load(du_ + i) - sum); });
      each_column(
          0, [&](int i, int j) { return take_off(i, j, share(i, j, t, t - 1) * load(du_ + i)); },
          plus, [&](int j, double sum) { store(dv_ + j, -sum); });
      for (int i = thread_index(); i < n_; i += kTransportThreads) store(du_ + i, 0.0);
      sync_threads();  // du is of the iteration before
    }
  }

  const TransportWork& work_;
  const int n_;
  const bool powers_;
  const double* w_;
  double *k_, *d_, *u_, *v_, *du_, *dv_, *parts_;
};

inline __global__ void __launch_bounds__(kTransportThreads, 1)
    sinkd_transport_kernel(TransportWork work) {
  const int64_t problem = block_index();
  Transport transport(work, problem);
  const double loss = transport.run() * work.weight;
  if (thread_index() == 0) store(work.loss + problem, loss);
}

}  // namespace surprisal::sinkd
