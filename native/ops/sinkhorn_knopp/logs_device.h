// Matrices whose numbers range too widely even for double, by logarithms as core/log_scaling.h: a
// block has one, all of it in scratch. They are few and small, or masked by large numbers: plain.
#pragma once
#include "ops/sinkhorn_knopp/device.h"

namespace surprisal::sinkhorn_knopp {

struct LogWork : Work {
  double* scratch = nullptr;  // (blocks, numbers)
  int64_t numbers = 0;
};

class LogScaler {
 public:
  __device__ LogScaler(const LogWork& work) : w_(work) {
    double* at = work.scratch + cuda::block_index() * work.numbers;
    const int64_t steps = work.iterations + 1;
    f_ = at;
    g_ = f_ + steps * work.n;
    df_ = g_ + steps * work.m;
    dg_ = df_ + work.n;
    d_ = dg_ + work.m;
  }

  __device__ void run() {
    const int64_t count = w_.matrices.count();
    for (int64_t k = cuda::block_index(); k < count; k += cuda::grid_size()) {
      matrix_ = w_.matrices.at(k);
      iterate();
      if (w_.upstream) {
        differentiate();
      } else {
        each(w_.size(), [&](int64_t e) { set(e, is_empty(e) ? 0 : share(e, last(), last())); });
      }
      cuda::sync_threads();  // what this matrix was iterated with has been read
    }
  }

 private:
  __device__ int64_t last() const { return w_.iterations; }
  template <class F>
  __device__ static void each(int64_t count, F&& f) {
    for (int64_t i = cuda::thread_index(); i < count; i += cuda::block_size()) f(i);
  }
  __device__ double x(int64_t e) const {
    return cuda::number_at(w_.x, w_.dtype, matrix_ * w_.size() + e);
  }
  __device__ double s(int64_t e) const { return w_.matrix ? log_of(x(e)) : x(e) / w_.temperature; }
  __device__ bool is_empty(int64_t e) const { return w_.matrix ? !(x(e) > 0) : x(e) == -INFINITY; }
  __device__ void set(int64_t e, double value) const {
    cuda::set_number(w_.to, w_.dtype, matrix_ * w_.size() + e, value);
  }

  // log of sum/(sum of e^z)
  template <class Z>
  __device__ static double potential(double sum, int64_t count, Z&& z) {
    double top = -INFINITY, total = 0;
    for (int64_t k = 0; k < count; ++k) {
      const double y = z(k);
      top = y > top || y != y ? y : top;
    }
    if (top == -INFINITY || sum == 0) return -INFINITY;
    for (int64_t k = 0; k < count; ++k) total += exp_of(z(k) - top);
    return log_of(sum) - top - log_of(total);
  }
  __device__ void scale_rows(int64_t t, int64_t with) const {
    const double* g = g_ + with * w_.m;
    each(w_.n, [&](int64_t i) {
      const auto z = [&](int64_t j) { return s(i * w_.m + j) + cuda::load(g + j); };
      cuda::store(f_ + t * w_.n + i, potential(w_.row(matrix_, i), w_.m, z));
    });
    cuda::sync_threads();  // this step's f is there
  }
  __device__ void scale_columns(int64_t t, int64_t with) const {
    const double* f = f_ + with * w_.n;
    each(w_.m, [&](int64_t j) {
      const auto z = [&](int64_t i) { return s(i * w_.m + j) + cuda::load(f + i); };
      cuda::store(g_ + t * w_.m + j, potential(w_.column(matrix_, j), w_.n, z));
    });
    cuda::sync_threads();  // this step's g is there
  }
  __device__ void iterate() const {
    each(w_.n, [&](int64_t i) { cuda::store(f_ + i, 0.0); });
    each(w_.m, [&](int64_t j) { cuda::store(g_ + j, 0.0); });
    cuda::sync_threads();  // the first potentials are there
    for (int64_t t = 1; t <= last(); ++t) {
      if (w_.columns_first) scale_columns(t, t - 1);
      scale_rows(t, w_.columns_first ? t : t - 1);
      if (!w_.columns_first) scale_columns(t, t);
    }
  }
  // Of the plan after these potentials; in an empty place, of what e^S is multiplied by.
  __device__ double share(int64_t e, int64_t tf, int64_t tg) const {
    const double own = is_empty(e) ? 0 : s(e);
    const double f = cuda::load(f_ + tf * w_.n + e / w_.m);
    return exp_of(own + f + cuda::load(g_ + tg * w_.m + e % w_.m));
  }

  __device__ void differentiate() const {
    each(w_.n, [&](int64_t i) {
      double sum = 0;
      for (int64_t e = i * w_.m; e < (i + 1) * w_.m; ++e) {
        const double p = share(e, last(), last());
        const int64_t at = matrix_ * w_.size() + e;
        const double d = p == 0 ? 0 : cuda::number_at(w_.upstream, w_.upstream_dtype, at) * p;
        cuda::store(d_ + e, d);
        if (!is_empty(e)) sum += d;
      }
      cuda::store(df_ + i, sum);
    });
    cuda::sync_threads();  // d is there
    each(w_.m, [&](int64_t j) {
      double sum = 0;
      for (int64_t e = j; e < w_.size(); e += w_.m)
        if (!is_empty(e)) sum += cuda::load(d_ + e);
      cuda::store(dg_ + j, sum);
    });
    cuda::sync_threads();  // df and dg are there
    for (int64_t t = last(); t > 0; --t) {
      if (w_.columns_first) {
        back_rows(t, t);
        back_columns(t - 1, t);
      } else {
        back_columns(t, t);
        back_rows(t, t - 1);
      }
    }
    each(w_.size(), [&](int64_t e) {
      const double d = cuda::load(d_ + e);
      const bool none = is_empty(e);
      set(e, w_.matrix ? (none ? d : d / exp_of(s(e))) : none ? 0 : d / w_.temperature);
    });
  }
  __device__ void back_rows(int64_t tf, int64_t tg) const {
    each(w_.n, [&](int64_t i) {
      const double r = w_.row(matrix_, i);
      cuda::store(df_ + i, r == 0 ? 0 : cuda::load(df_ + i) / r);
    });
    cuda::sync_threads();  // what the rows are multiplied by is there
    each(w_.m, [&](int64_t j) {
      double sum = cuda::load(dg_ + j);
      for (int64_t i = 0; i < w_.n; ++i) sum -= taken(i * w_.m + j, tf, tg, cuda::load(df_ + i));
      cuda::store(dg_ + j, sum);
    });
    cuda::sync_threads();  // df has been read
    each(w_.n, [&](int64_t i) { cuda::store(df_ + i, 0.0); });
    cuda::sync_threads();  // and is 0
  }
  __device__ void back_columns(int64_t tf, int64_t tg) const {
    each(w_.m, [&](int64_t j) {
      const double c = w_.column(matrix_, j);
      cuda::store(dg_ + j, c == 0 ? 0 : cuda::load(dg_ + j) / c);
    });
    cuda::sync_threads();  // what the columns are multiplied by is there
    each(w_.n, [&](int64_t i) {
      double sum = cuda::load(df_ + i);
      for (int64_t j = 0; j < w_.m; ++j) sum -= taken(i * w_.m + j, tf, tg, cuda::load(dg_ + j));
      cuda::store(df_ + i, sum);
    });
    cuda::sync_threads();  // dg has been read
    each(w_.m, [&](int64_t j) { cuda::store(dg_ + j, 0.0); });
    cuda::sync_threads();  // and is 0
  }
  // What d of an element loses, and the other side's derivative by it.
  __device__ double taken(int64_t e, int64_t tf, int64_t tg, double by) const {
    if (by == 0) return 0;
    const double x = share(e, tf, tg) * by;
    cuda::store(d_ + e, cuda::load(d_ + e) - x);
    return is_empty(e) ? 0 : x;
  }

  const LogWork& w_;
  int64_t matrix_ = 0;
  double *f_, *g_, *df_, *dg_, *d_;
};

__global__ void __launch_bounds__(kLogThreads, 2)
    sinkhorn_knopp_logs_kernel(const __grid_constant__ LogWork work) {
  LogScaler(work).run();
}

}  // namespace surprisal::sinkhorn_knopp
