#include "core/measures.h"
#include "core/values.h"
#include "ops/emd1d/line.h"
#include "ops/emd1d/op.h"

namespace surprisal::emd1d {
constexpr int64_t kPadding = 16;
}

#define SURPRISAL_BODY "ops/emd1d/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::emd1d {
namespace {

constexpr int64_t kLines = 32;  // whose slopes are held at once

template <class T>
double wide(T x) {
  if constexpr (std::is_same_v<T, double>) {
    return x;
  } else {
    return to_float(x);
  }
}

// One side of one problem.
template <class A>
class Cloud {
 public:
  Cloud(const View& from, int64_t start, int64_t n, int64_t width, const double* centre,
        const double* weight)
      : n(n),
        ld((n + kPadding - 1) / kPadding * kPadding),
        width(width),
        weight(weight),
        points_(ld * width) {
    std::fill_n(points_.data(), ld * width, A{0});
    visit_float(from.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T* p = from.as<T>() + start * width;
      for (int64_t i = 0; i < n; ++i)
        for (int64_t k = 0; k < width; ++k)
          points_[k * ld + i] = static_cast<A>(wide(p[i * width + k]) - centre[k]);
    });
  }
  const int64_t n, ld, width;
  const double* weight;
  const A* points() const { return points_.data(); }

 private:
  Scratch<A> points_;
};

// What one side's gradients are gathered in, empty unless wanted.
template <class A>
struct Sums {
  Sums(const Cloud<A>& cloud, int64_t lines, bool points, bool weights)
      : slope(points ? lines * cloud.ld : 0),
        potential(weights ? lines * cloud.n : 0),
        dpoints(points ? cloud.width * cloud.ld : 0),
        dweights(weights ? cloud.n : 0) {
    std::fill_n(slope.data(), points ? lines * cloud.ld : 0, A{0});
    std::fill_n(dpoints.data(), points ? cloud.width * cloud.ld : 0, A{0});
    std::fill_n(dweights.data(), weights ? cloud.n : 0, 0.0);
  }
  Scratch<A> slope;           // (lines, ld)
  Scratch<double> potential;  // (lines, n)
  Scratch<A> dpoints;         // (D, ld)
  Scratch<double> dweights;   // (n)
};

template <class A>
class Problem {
 public:
  Problem(const Transport& op, const Cloud<A>& x, const Cloud<A>& y, double scale)
      : op_(op),
        x_(x),
        y_(y),
        scale_(scale),
        lines_(std::min(kLines, op.projections)),
        own_(x, lines_, points(), weights()),
        other_(y, lines_, points(), weights()) {
    for (int64_t i = 0; i < x.n; ++i) mass_ += x.weight[i];
  }

  // The mean over the lines.
  double solve() {
    double sum = 0;
    Scratch<double> value(lines_);
    for (int64_t l = 0; l < op_.projections; l += lines_) {
      const int64_t count = std::min(lines_, op_.projections - l);
      parallel_for(count, 1, [&](int64_t begin, int64_t end) {
        Line<A> x(x_.n), y(y_.n);
        Scratch<A> along(std::max(x_.ld, y_.ld));
        for (int64_t k = begin; k < end; ++k) {
          x.sort(coordinates(x_, l + k, along.data()), x_.weight);
          y.sort(coordinates(y_, l + k, along.data()), y_.weight);
          value[k] = line(x, y, k);
        }
      });
      for (int64_t k = 0; k < count; ++k) sum += value[k];
      gather(x_, own_, l, count);
      gather(y_, other_, l, count);
    }
    return sum * scale_ / static_cast<double>(op_.projections);
  }

  void store(const Cloud<A>& cloud, int64_t index, const View& points, const View& weights) const {
    const Sums<A>& sums = &cloud == &x_ ? own_ : other_;
    if (points) {
      A* to = points.as<A>() + index * cloud.n * cloud.width;
      for (int64_t i = 0; i < cloud.n; ++i)
        for (int64_t k = 0; k < cloud.width; ++k)
          to[i * cloud.width + k] = sums.dpoints[k * cloud.ld + i];
    }
    if (!weights) return;
    double mean = 0;
    for (int64_t i = 0; i < cloud.n; ++i) mean += cloud.weight[i] / mass_ * sums.dweights[i];
    A* to = weights.as<A>() + index * cloud.n;
    const double lines = static_cast<double>(op_.projections);
    for (int64_t i = 0; i < cloud.n; ++i) to[i] = static_cast<A>((sums.dweights[i] - mean) / lines);
  }

 private:
  bool points() const { return op_.dx || op_.dy; }
  bool weights() const { return op_.da || op_.db; }
  const A* direction(int64_t l) const {
    return op_.directions ? op_.directions.as<A>() + l * op_.width : &one_;
  }

  const A* coordinates(const Cloud<A>& cloud, int64_t l, A* along) const {
    if (!op_.directions) return cloud.points();
    SURPRISAL_DISPATCH(emd1d::project, cloud.points(), cloud.ld, direction(l), op_.width, along);
    return along;
  }

  double line(Line<A>& x, Line<A>& y, int64_t k) {
    if (op_.p == 1) return line(x, y, k, Distance{});
    if (op_.p == 2) return line(x, y, k, Square{});
    return line(x, y, k, Power{op_.p});
  }

  template <class Cost>
  double line(Line<A>& x, Line<A>& y, int64_t k, Cost cost) {
    const double tie = tie_of(mass_, x.n, y.n);
    const double value = merge(x, y, tie, cost, points());
    if (points()) {
      const double factor = scale_ / static_cast<double>(op_.projections);
      x.scatter(factor, own_.slope.data() + k * x_.ld);
      y.scatter(factor, other_.slope.data() + k * y_.ld);
    }
    if (weights())
      potentials(x, y, tie, cost, own_.potential.data() + k * x.n,
                 other_.potential.data() + k * y.n);
    return value;
  }

  void gather(const Cloud<A>& cloud, Sums<A>& sums, int64_t l, int64_t count) const {
    if (points())
      SURPRISAL_DISPATCH(emd1d::unproject, sums.slope.data(), cloud.ld, direction(l), count,
                         op_.width, sums.dpoints.data());
    if (!weights()) return;
    for (int64_t k = 0; k < count; ++k)
      for (int64_t i = 0; i < cloud.n; ++i) sums.dweights[i] += sums.potential[k * cloud.n + i];
  }

  const Transport& op_;
  const Cloud<A>&x_, &y_;
  const double scale_;
  const int64_t lines_;
  const A one_ = 1;
  double mass_ = 0;
  Sums<A> own_, other_;
};

// A centre costs projected float32 nothing and saves their digits; one coordinate has all of them.
void find_centre(const Transport& op, int64_t index, double* centre) {
  std::fill_n(centre, op.width, 0.0);
  if (!op.directions) return;
  for (int64_t i = 0; i < op.n; ++i)
    for (int64_t k = 0; k < op.width; ++k)
      centre[k] += value_of(op.x, (index * op.n + i) * op.width + k) / static_cast<double>(op.n);
}

template <class A>
void solve(const Transport& op, int64_t index, const BalancedWeights& weights) {
  Scratch<double> centre(op.width);
  find_centre(op, index, centre.data());
  const Cloud<A> x(op.x, index * op.n, op.n, op.width, centre.data(), weights.a(index));
  const Cloud<A> y(op.y, index * op.m, op.m, op.width, centre.data(), weights.b(index));
  Problem<A> problem(op, x, y, weights.scale());
  set_value(op.value, index, problem.solve());
  problem.store(x, index, op.dx, op.da);
  problem.store(y, index, op.dy, op.db);
}

const char* name_of(const Transport& op) { return op.directions ? "slicedWasserstein" : "emd1d"; }

void check_values(const Transport& op) {
  expect_finite(name_of(op), "x", op.x, op.width);
  expect_finite(name_of(op), "y", op.y, op.width);
  if (op.directions) expect_finite(name_of(op), "directions", op.directions, op.width);
}

}  // namespace

void check_sizes(const Transport& op) {
  const DType inner = op.x.dtype == DType::f64 ? DType::f64 : DType::f32;
  const auto fits = [&](const View& v, int64_t size) {
    return !v || (v.size == size && v.dtype == inner);
  };
  const int64_t rows = op.batch * op.n, columns = op.batch * op.m;
  require(op.n > 0 && op.m > 0 && op.width > 0 && op.projections > 0, "emd1d: no points");
  require(op.n < (int64_t{1} << 31) && op.m < (int64_t{1} << 31), "emd1d: too many points");
  require(
      op.x.size == rows * op.width && op.y.size == columns * op.width && op.x.dtype == op.y.dtype,
      "emd1d: sizes of the points");
  require(op.directions ? fits(op.directions, op.projections * op.width)
                        : op.width == 1 && op.projections == 1,
          "emd1d: directions");
  require(fits(op.value, op.batch) && fits(op.dx, op.x.size) && fits(op.dy, op.y.size) &&
              fits(op.da, rows) && fits(op.db, columns),
          "emd1d: outputs");
  require(op.p >= 1, "emd1d: p");
}

void transport(const Transport& op) {
  check_sizes(op);
  check_values(op);
  const BalancedWeights weights(name_of(op), op.a, op.b, op.batch, op.n, op.m);
  const auto each = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      op.x.dtype == DType::f64 ? solve<double>(op, i, weights) : solve<float>(op, i, weights);
  };
  // Many problems: one a thread. Few: the lines of each among the threads.
  if (op.batch < num_threads()) {
    each(0, op.batch);
  } else {
    parallel_for(op.batch, 1, each);
  }
}

}  // namespace surprisal::emd1d
