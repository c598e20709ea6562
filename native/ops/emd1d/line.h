// One problem on a line: two sorted lists, merged by their cumulative weights.
#pragma once
#include <cmath>

#include "core/scratch.h"
#include "core/sorting.h"

namespace surprisal::emd1d {

// One cloud's points in order, with their weights.
template <class A>
class Line {
 public:
  explicit Line(int64_t n) : n(n), at_(n), weight_(n), order_(n), slope_(n), items_(2 * n) {}

  void sort(const A* coordinate, const double* weight) {
    for (int64_t i = 0; i < n; ++i) items_[i] = {key_of(coordinate[i]), static_cast<int32_t>(i)};
    sort_keyed(items_.data(), items_.data() + n, n);
    for (int64_t k = 0; k < n; ++k) {
      const int32_t i = items_[k].index;
      order_[k] = i;
      at_[k] = coordinate[i];
      weight_[k] = weight[i];
    }
  }

  const int64_t n;
  double at(int64_t k) const { return at_[k]; }
  double weight(int64_t k) const { return weight_[k]; }
  int32_t order(int64_t k) const { return order_[k]; }
  double* slope() { return slope_.data(); }  // scratch of n

  // Slopes to the points they belong to; those of one coordinate get their shares of the sum.
  void scatter(double factor, A* to) {
    for (int64_t k = 0, end; k < n; k = end) {
      double sum = slope_[k], mass = weight_[k];
      for (end = k + 1; end < n && at_[end] == at_[k]; ++end) {
        sum += slope_[end];
        mass += weight_[end];
      }
      for (int64_t e = k; e < end; ++e) {
        const double share = end == k + 1 ? sum : mass > 0 ? sum * (weight_[e] / mass) : 0;
        to[order_[e]] = static_cast<A>(factor * share);
      }
    }
  }

 private:
  Scratch<A> at_;
  Scratch<double> weight_;
  Scratch<int32_t> order_;
  Scratch<double> slope_;
  Scratch<Keyed<decltype(key_of(A{}))>> items_;
};

// |d|^p and its derivative, 0 at 0.
struct Distance {
  double value(double d) const { return std::fabs(d); }
  double slope(double d) const { return d > 0 ? 1 : d < 0 ? -1 : 0; }
};
struct Square {
  double value(double d) const { return d * d; }
  double slope(double d) const { return 2 * d; }
};
struct Power {
  double p;
  double value(double d) const { return std::pow(std::fabs(d), p); }
  double slope(double d) const {
    return d == 0 ? 0 : std::copysign(p * std::pow(std::fabs(d), p - 1), d);
  }
};

// Cumulative weights closer than this are equal: they differ by their sums' rounding.
inline double tie_of(double mass, int64_t n, int64_t m) {
  return 8 * 2.3e-16 * mass * std::sqrt(static_cast<double>(n + m));
}

// f(i, j, mass) for the pairs that share mass, in order.
template <class A, class F>
void each_pair(const Line<A>& x, const Line<A>& y, double tie, F&& f) {
  double end_x = x.weight(0), end_y = y.weight(0), begin = 0;
  for (int64_t i = 0, j = 0;;) {
    const double end = std::min(end_x, end_y), apart = end_x - end_y;
    f(i, j, std::max(0.0, end - begin));
    begin = std::max(begin, end);
    const bool last_x = i + 1 == x.n, last_y = j + 1 == y.n;
    if (last_x && last_y) return;
    const bool step_x = !last_x && (last_y || apart <= tie);
    const bool step_y = !last_y && (last_x || apart >= -tie);
    if (step_x) end_x += x.weight(++i);
    if (step_y) end_y += y.weight(++j);
  }
}

// The value, and where wanted the slopes in the points.
template <class A, class Cost>
double merge(Line<A>& x, Line<A>& y, double tie, Cost cost, bool slopes) {
  double sum = 0;
  if (!slopes) {
    each_pair(x, y, tie,
              [&](int64_t i, int64_t j, double w) { sum += w * cost.value(x.at(i) - y.at(j)); });
    return sum;
  }
  double *dx = x.slope(), *dy = y.slope();
  std::fill_n(dx, x.n, 0.0);
  std::fill_n(dy, y.n, 0.0);
  each_pair(x, y, tie, [&](int64_t i, int64_t j, double w) {
    const double d = x.at(i) - y.at(j), slope = w * cost.slope(d);
    sum += w * cost.value(d);
    dx[i] += slope;
    dy[j] -= slope;
  });
  return sum;
}

// Potentials of the staircase of pairs that goes on in x first, or in y, where both could:
// f_i + g_j = cost on it, and <= elsewhere since the cost is convex. Added to f (n), g (m).
template <class A, class Cost>
void climb(const Line<A>& x, const Line<A>& y, double tie, Cost cost, bool x_first, double* f,
           double* g) {
  double end_x = x.weight(0), end_y = y.weight(0);
  double own = 0, other = cost.value(x.at(0) - y.at(0));
  f[x.order(0)] += own;
  g[y.order(0)] += other;
  for (int64_t i = 0, j = 0; i + 1 < x.n || j + 1 < y.n;) {
    const double apart = end_x - end_y;
    const bool before = x_first ? apart <= tie : apart < -tie;
    if (j + 1 == y.n || (i + 1 < x.n && before)) {
      end_x += x.weight(++i);
      own = cost.value(x.at(i) - y.at(j)) - other;
      f[x.order(i)] += own;
    } else {
      end_y += y.weight(++j);
      other = cost.value(x.at(i) - y.at(j)) - own;
      g[y.order(j)] += other;
    }
  }
}

// The mean of both staircases' potentials, f (n) and g (m).
template <class A, class Cost>
void potentials(const Line<A>& x, const Line<A>& y, double tie, Cost cost, double* f, double* g) {
  std::fill_n(f, x.n, 0.0);
  std::fill_n(g, y.n, 0.0);
  climb(x, y, tie, cost, true, f, g);
  climb(x, y, tie, cost, false, f, g);
  for (int64_t i = 0; i < x.n; ++i) f[i] /= 2;
  for (int64_t j = 0; j < y.n; ++j) g[j] /= 2;
}

}  // namespace surprisal::emd1d
