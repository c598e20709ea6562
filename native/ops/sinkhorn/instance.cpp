#include "ops/sinkhorn/instance.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "core/parallel.h"

namespace surprisal::sinkhorn {
namespace {

std::string text_of(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", x);
  return std::isnan(x) ? "NaN" : std::isinf(x) ? (x > 0 ? "Infinity" : "-Infinity") : text;
}

[[noreturn]] void refuse(const Problem& op, const std::string& message) {
  throw Error(Code::invalid_value, std::string(name_of(op)) + ": " + message);
}

// Calls f(i, value) in order; f gives false to end.
template <class F>
void each_value(const View& view, F&& f) {
  visit_float(view.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* p = view.as<T>();
    for (int64_t i = 0; i < view.size; ++i) {
      if constexpr (std::is_same_v<T, double>) {
        f(i, p[i]);
      } else {
        f(i, to_float(p[i]));
      }
    }
  });
}

}  // namespace

const char* name_of(const Problem& op) {
  return op.caller == 0 ? "sinkhornDivergence" : op.caller == 1 ? "sinkhornPotentials" : "sinkhorn";
}

Batch::Batch(const Problem& op)
    : op_(op),
      rows_(op.batch ? op.starts_x.as<int64_t>()[op.batch] : 0),
      columns_(op.batch ? op.starts_y.as<int64_t>()[op.batch] : 0),
      a_(std::max<int64_t>(1, rows_)),
      b_(std::max<int64_t>(1, columns_)),
      scale_(static_cast<size_t>(op.batch), 0.0) {
  require(op.starts_x.size == op.batch + 1 && op.starts_y.size == op.batch + 1, "sinkhorn: starts");
  const bool given = static_cast<Cost>(op.kind) == Cost::matrix;
  require(given || (op.x.size == rows_ * op.width && op.y.size == columns_ * op.width &&
                    op.x.dtype == op.y.dtype),
          "sinkhorn: sizes of the points");
  require(!op.a || op.a.size == rows_, "sinkhorn: size of a");
  require(!op.b || op.b.size == columns_, "sinkhorn: size of b");
  require(!given || !op.debias, "sinkhorn: a given cost has no self terms");
  read_weights(op.a, op.starts_x, "a", a_.data());
  read_weights(op.b, op.starts_y, "b", b_.data());
  if (balanced()) match_masses();
  if (!given) {
    check_points(op.x, "x");
    check_points(op.y, "y");
  }
  if (op.labels) {
    check_labels(op.labels_x, "labelsX");
    check_labels(op.labels_y, "labelsY");
    require(op.label_cost.size == op.labels * op.labels, "sinkhorn: size of labelCost");
    each_value(op.label_cost, [&](int64_t, double w) {
      if (!std::isfinite(w))
        refuse(op_, "expected labelCost to hold finite numbers, got " + text_of(w));
      label_range_ = std::max(label_range_, std::fabs(w));
    });
  }
  find_scales();
}

void Batch::read_weights(const View& from, const View& starts, const char* name, double* to) const {
  const int64_t* start = starts.as<int64_t>();
  for (int64_t p = 0; p < op_.batch; ++p) {
    require(start[p + 1] > start[p], "sinkhorn: a problem without points");
    double mass = 0;
    for (int64_t i = start[p]; i < start[p + 1]; ++i) {
      const double w = from ? value_of(from, i) : 1 / double(start[p + 1] - start[p]);
      if (!(w >= 0) || std::isinf(w)) {
        refuse(op_, std::string("expected ") + name +
                        " to hold finite numbers of at least 0, got " + text_of(w) + " at " +
                        std::to_string(i));
      }
      to[i] = w;
      mass += w;
    }
    if (mass > 0) continue;
    refuse(op_, std::string("expected ") + name + " to have a positive sum, got 0" +
                    (op_.batch > 1 ? " in problem " + std::to_string(p) : ""));
  }
}

// Marginals that must hold can only if the masses are equal: small differences are rounding, which
// is spread over the points; unit masses stay so.
void Batch::match_masses() {
  const auto narrow = [](const View& v) { return v && size_of(v.dtype) == 2; };
  const double allowed = narrow(op_.a) || narrow(op_.b) ? 2e-2 : 1e-4;
  const int64_t *x = op_.starts_x.as<int64_t>(), *y = op_.starts_y.as<int64_t>();
  for (int64_t p = 0; p < op_.batch; ++p) {
    double a = 0, b = 0;
    for (int64_t i = x[p]; i < x[p + 1]; ++i) a += a_[i];
    for (int64_t j = y[p]; j < y[p + 1]; ++j) b += b_[j];
    if (std::fabs(a - b) > allowed * std::max(a, b)) {
      const char* relax = op_.caller == 2 ? "rhoA or rhoB relaxes" : "reach relaxes";
      refuse(op_, std::string("expected a and b to have the same mass (balanced transport; ") +
                      relax + " it), got " + text_of(a) + " and " + text_of(b) +
                      (op_.batch > 1 ? " in problem " + std::to_string(p) : ""));
    }
    const bool unit = std::fabs(a - 1) <= allowed && std::fabs(b - 1) <= allowed;
    const double mass = unit ? 1 : (a + b) / 2;
    for (int64_t i = x[p]; i < x[p + 1]; ++i) a_[i] *= mass / a;
    for (int64_t j = y[p]; j < y[p + 1]; ++j) b_[j] *= mass / b;
  }
}

void Batch::check_points(const View& points, const char* name) const {
  each_value(points, [&](int64_t i, double v) {
    if (std::isfinite(v)) return;
    refuse(op_, std::string("expected ") + name + " to hold finite numbers, got " + text_of(v) +
                    " at point " + std::to_string(i / op_.width));
  });
}

void Batch::check_labels(const View& labels, const char* name) const {
  const int32_t* label = labels.as<int32_t>();
  for (int64_t i = 0; i < labels.size; ++i) {
    if (label[i] >= 0 && label[i] < op_.labels) continue;
    throw Error(Code::out_of_range, std::string(name_of(op_)) + ": expected " + name + " in [0, " +
                                        std::to_string(op_.labels) + "), got " +
                                        std::to_string(label[i]) + " at " + std::to_string(i));
  }
}

void Batch::find_scales() {
  const int64_t *x = op_.starts_x.as<int64_t>(), *y = op_.starts_y.as<int64_t>();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (static_cast<Cost>(op_.kind) == Cost::matrix) {
    for (int64_t p = 0, i = 0; p < op_.batch; ++p) {
      double least = kInfinity, most = -kInfinity;
      const int64_t m = y[p + 1] - y[p], end = i + (x[p + 1] - x[p]) * m;
      for (; i < end; ++i) {
        const double c = value_of(op_.cost, i);
        if (!std::isfinite(c)) {
          refuse(op_, "expected cost to hold finite numbers, got " + text_of(c) + " at [" +
                          (op_.batch > 1 ? std::to_string(p) + ", " : "") +
                          std::to_string((m * (x[p + 1] - x[p]) - (end - i)) / m) + ", " +
                          std::to_string((m * (x[p + 1] - x[p]) - (end - i)) % m) + "]");
        }
        least = std::min(least, c);
        most = std::max(most, c);
      }
      scale_[static_cast<size_t>(p)] = most - least;
    }
    return;
  }
  const auto box = [&](int64_t p, int64_t k, double* least, double* most) {
    for (int64_t i = x[p]; i < x[p + 1]; ++i) {
      const double v = value_of(op_.x, i * op_.width + k);
      *least = std::min(*least, v);
      *most = std::max(*most, v);
    }
    for (int64_t j = y[p]; j < y[p + 1]; ++j) {
      const double v = value_of(op_.y, j * op_.width + k);
      *least = std::min(*least, v);
      *most = std::max(*most, v);
    }
  };
  const Cost kind = static_cast<Cost>(op_.kind);
  std::vector<double> all(static_cast<size_t>(op_.width) * 2);
  for (size_t k = 0; k < all.size(); k += 2) {
    all[k] = kInfinity;
    all[k + 1] = -kInfinity;
  }
  for (int64_t p = 0; p < op_.batch; ++p) {
    double square = 0;
    for (int64_t k = 0; k < op_.width; ++k) {
      double least = kInfinity, most = -kInfinity;
      box(p, k, &least, &most);
      square += (most - least) * (most - least);
      double* whole = &all[static_cast<size_t>(2 * k)];
      whole[0] = std::min(whole[0], least);
      whole[1] = std::max(whole[1], most);
    }
    scale_[static_cast<size_t>(p)] = label_range_ + (kind == Cost::half_square ? square
                                                     : kind == Cost::distance  ? std::sqrt(square)
                                                                               : 2);
  }
  double square = 0;
  for (size_t k = 0; k < all.size(); k += 2)
    square += (all[k + 1] - all[k]) * (all[k + 1] - all[k]);
  diameter_ = op_.batch ? std::sqrt(square) : 0;
}

Instance Batch::instance(int64_t index) const {
  const int64_t *x = op_.starts_x.as<int64_t>(), *y = op_.starts_y.as<int64_t>();
  Instance one;
  one.index = index;
  const auto fill = [&](Measure& m, const View& points, const int64_t* start, const double* weight,
                        double rho, const View& labels) {
    m.points = points;
    m.start = start[index];
    m.n = start[index + 1] - start[index];
    m.weight = weight + m.start;
    m.mass = 0;
    for (int64_t i = 0; i < m.n; ++i) m.mass += m.weight[i];
    m.rho = rho;
    m.label = labels ? labels.as<int32_t>() + m.start : nullptr;
  };
  fill(one.x, op_.x, x, a_.data(), op_.rho_a, op_.labels_x);
  fill(one.y, op_.y, y, b_.data(), op_.rho_b, op_.labels_y);
  one.scale = scale_[static_cast<size_t>(index)];
  one.diameter = diameter_;
  return one;
}

}  // namespace surprisal::sinkhorn
