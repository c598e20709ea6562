// Sinkhorn-Knopp as in cpu/matrix_scaling.h, by potentials f = log u and g = log v in float64:
// for matrices whose logarithms S range too widely for u and v themselves. Every exponential is of
// a plan, which its sums bound. S of -inf is an empty place; a row or column of them stays empty.
// In an empty place the gradient is that by e^S, in others by S.
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

namespace surprisal {

class LogScaling {
 public:
  LogScaling(int64_t n, int64_t m, int64_t iterations, bool columns_first)
      : s(n * m),
        r(n),
        c(m),
        n_(n),
        m_(m),
        steps_(iterations),
        columns_first_(columns_first),
        f_((iterations + 1) * n),
        g_((iterations + 1) * m) {}

  void iterate() {
    for (int64_t t = 1; t <= steps_; ++t) {
      if (columns_first_) scale_columns(t, t - 1);
      for (int64_t i = 0; i < n_; ++i) {
        const double* g = g_.data() + (columns_first_ ? t : t - 1) * m_;
        const double* row = s.data() + i * m_;
        f_[t * n_ + i] = potential(r[i], m_, [&](int64_t j) { return row[j] + g[j]; });
      }
      if (!columns_first_) scale_columns(t, t);
    }
  }

  double plan(int64_t i, int64_t j) const { return empty(i, j) ? 0 : share(i, j, steps_, steps_); }

  // d (n, m): the gradient by P becomes that by S, or by e^S.
  void differentiate(double* d) const {
    std::vector<double> df(n_), dg(m_);
    for (int64_t i = 0; i < n_; ++i) {
      for (int64_t j = 0; j < m_; ++j) {
        double& x = d[i * m_ + j];
        const double p = share(i, j, steps_, steps_);
        x = p == 0 ? 0 : x * p;
        if (empty(i, j)) continue;
        df[i] += x;
        dg[j] += x;
      }
    }
    for (int64_t t = steps_; t > 0; --t) {
      const int64_t earlier = t - 1;
      if (columns_first_) {
        back_rows(t, t, df, dg, d);
        back_columns(earlier, t, df, dg, d);
      } else {
        back_columns(t, t, df, dg, d);
        back_rows(t, earlier, df, dg, d);
      }
    }
  }

  std::vector<double> s, r, c;  // (n, m), (n), (m): to be filled before iterate()

 private:
  // log of sum/(sum of e^x)
  template <class F>
  static double potential(double sum, int64_t count, F&& x) {
    double top = -INFINITY, total = 0;
    for (int64_t k = 0; k < count; ++k) top = x(k) > top || std::isnan(x(k)) ? x(k) : top;
    if (top == -INFINITY || sum == 0) return -INFINITY;
    for (int64_t k = 0; k < count; ++k) total += std::exp(x(k) - top);
    return std::log(sum) - top - std::log(total);
  }
  void scale_columns(int64_t t, int64_t with) {
    const double* f = f_.data() + with * n_;
    for (int64_t j = 0; j < m_; ++j)
      g_[t * m_ + j] = potential(c[j], n_, [&](int64_t i) { return s[i * m_ + j] + f[i]; });
  }
  bool empty(int64_t i, int64_t j) const { return s[i * m_ + j] == -INFINITY; }
  // Of the plan after these potentials; in an empty place, of what e^S is multiplied by.
  double share(int64_t i, int64_t j, int64_t tf, int64_t tg) const {
    const double own = empty(i, j) ? 0 : s[i * m_ + j];
    return std::exp(own + f_[tf * n_ + i] + g_[tg * m_ + j]);
  }
  void back_rows(int64_t tf, int64_t tg, std::vector<double>& df, std::vector<double>& dg,
                 double* d) const {
    for (int64_t i = 0; i < n_; ++i) {
      const double by = r[i] == 0 ? 0 : df[i] / r[i];
      df[i] = 0;
      for (int64_t j = 0; by != 0 && j < m_; ++j) {
        const double x = share(i, j, tf, tg) * by;
        d[i * m_ + j] -= x;
        if (!empty(i, j)) dg[j] -= x;
      }
    }
  }
  void back_columns(int64_t tf, int64_t tg, std::vector<double>& df, std::vector<double>& dg,
                    double* d) const {
    for (int64_t j = 0; j < m_; ++j) {
      const double by = c[j] == 0 ? 0 : dg[j] / c[j];
      dg[j] = 0;
      for (int64_t i = 0; by != 0 && i < n_; ++i) {
        const double x = share(i, j, tf, tg) * by;
        d[i * m_ + j] -= x;
        if (!empty(i, j)) df[i] -= x;
      }
    }
  }

  const int64_t n_, m_, steps_;
  const bool columns_first_;
  std::vector<double> f_, g_;
};

}  // namespace surprisal
