#include "ops/sinkhorn/instance.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/measures.h"
#include "core/parallel.h"
#include "ops/sinkhorn/refusals.h"

namespace surprisal::sinkhorn {
namespace {

// box (D, 2): the least and the largest coordinate.
void widen_box(const View& points, int64_t begin, int64_t end, int64_t width, double* box) {
  visit_float(points.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* p = points.as<T>() + begin * width;
    for (int64_t i = begin; i < end; ++i)
      for (int64_t k = 0; k < width; ++k, ++p) {
        double v;
        if constexpr (std::is_same_v<T, double>) {
          v = *p;
        } else {
          v = to_float(*p);
        }
        box[2 * k] = std::min(box[2 * k], v);
        box[2 * k + 1] = std::max(box[2 * k + 1], v);
      }
  });
}

}  // namespace

const char* name_of(const Problem& op) {
  return op.caller == 0 ? "sinkhornDivergence" : op.caller == 1 ? "sinkhornPotentials" : "sinkhorn";
}

Precision precision_of(const Problem& op, const Instance& one) {
  const bool given = static_cast<Cost>(op.kind) == Cost::matrix;
  Precision p;
  p.epsilon = std::max({op.epsilon, one.size * 0x1p-42, 0x1p-900});
  p.wide = (given ? op.cost : op.x).dtype == DType::f64 || one.size > p.epsilon * 0x1p13 * 1.4 ||
           one.scale < p.epsilon / 4;
  return p;
}

Batch::Batch(const Problem& op)
    : op_(op),
      rows_(op.batch ? op.starts_x.as<int64_t>()[op.batch] : 0),
      columns_(op.batch ? op.starts_y.as<int64_t>()[op.batch] : 0),
      a_(std::max<int64_t>(1, rows_)),
      b_(std::max<int64_t>(1, columns_)),
      scale_(static_cast<size_t>(op.batch), 0.0),
      size_(static_cast<size_t>(op.batch), 0.0) {
  require(op.starts_x.size == op.batch + 1 && op.starts_y.size == op.batch + 1, "sinkhorn: starts");
  const bool given = static_cast<Cost>(op.kind) == Cost::matrix;
  require(given || (op.x.size == rows_ * op.width && op.y.size == columns_ * op.width &&
                    op.x.dtype == op.y.dtype),
          "sinkhorn: sizes of the points");
  require(!op.a || op.a.size == rows_, "sinkhorn: size of a");
  require(!op.b || op.b.size == columns_, "sinkhorn: size of b");
  require(!given || !op.debias, "sinkhorn: a given cost has no self terms");
  const char* name = name_of(op);
  const Weights a{"a", op.a, op.starts_x.as<int64_t>(), a_.data()};
  const Weights b{"b", op.b, op.starts_y.as<int64_t>(), b_.data()};
  read_weights(name, a, op.batch);
  read_weights(name, b, op.batch);
  if (balanced()) match_masses(name, a, b, op.batch, op.caller == 2 ? "rhoA or rhoB" : "reach");
  if (!given) {
    expect_finite(name, "x", op.x, op.width);
    expect_finite(name, "y", op.y, op.width);
  }
  if (op.labels) {
    check_labels(op.labels_x, "labelsX");
    check_labels(op.labels_y, "labelsY");
    require(op.label_cost.size == op.labels * op.labels, "sinkhorn: size of labelCost");
    each_value(op.label_cost, [&](int64_t, double w) {
      if (!std::isfinite(w))
        refuse(name, "expected labelCost to hold finite numbers, got " + text_of(w));
      label_range_ = std::max(label_range_, std::fabs(w));
    });
  }
  find_scales();
  const double steps = op.geomloss ? geomloss_steps(op, diameter_) : 0;
  if (steps > static_cast<double>(op.max_iterations))
    refuse_schedule(op.caller, steps, op.max_iterations);
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
          refuse(name_of(op_), "expected cost to hold finite numbers, got " + text_of(c) + " at [" +
                                   (op_.batch > 1 ? std::to_string(p) + ", " : "") +
                                   std::to_string((m * (x[p + 1] - x[p]) - (end - i)) / m) + ", " +
                                   std::to_string((m * (x[p + 1] - x[p]) - (end - i)) % m) + "]");
        }
        least = std::min(least, c);
        most = std::max(most, c);
      }
      scale_[static_cast<size_t>(p)] = most - least;
      size_[static_cast<size_t>(p)] = std::max(most, -least);
    }
    return;
  }
  const Cost kind = static_cast<Cost>(op_.kind);
  std::vector<double> all(static_cast<size_t>(op_.width) * 2);
  for (size_t k = 0; k < all.size(); k += 2) {
    all[k] = kInfinity;
    all[k + 1] = -kInfinity;
  }
  std::vector<double> box(all.size());
  for (int64_t p = 0; p < op_.batch; ++p) {
    for (size_t k = 0; k < box.size(); k += 2) {
      box[k] = kInfinity;
      box[k + 1] = -kInfinity;
    }
    widen_box(op_.x, x[p], x[p + 1], op_.width, box.data());
    widen_box(op_.y, y[p], y[p + 1], op_.width, box.data());
    double square = 0;
    for (size_t k = 0; k < box.size(); k += 2) {
      square += (box[k + 1] - box[k]) * (box[k + 1] - box[k]);
      all[k] = std::min(all[k], box[k]);
      all[k + 1] = std::max(all[k + 1], box[k + 1]);
    }
    scale_[static_cast<size_t>(p)] = label_range_ + (kind == Cost::half_square ? square
                                                     : kind == Cost::distance  ? std::sqrt(square)
                                                                               : 2);
    size_[static_cast<size_t>(p)] = scale_[static_cast<size_t>(p)];
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
    // A large epsilon would make much of the rounding of the sum.
    if (std::fabs(m.mass - 1) <= static_cast<double>(m.n) * 0x1p-52) m.mass = 1;
    m.rho = rho;
    m.label = labels ? labels.as<int32_t>() + m.start : nullptr;
  };
  fill(one.x, op_.x, x, a_.data(), op_.rho_a, op_.labels_x);
  fill(one.y, op_.y, y, b_.data(), op_.rho_b, op_.labels_y);
  one.scale = scale_[static_cast<size_t>(index)];
  one.size = size_[static_cast<size_t>(index)];
  one.diameter = diameter_;
  return one;
}

}  // namespace surprisal::sinkhorn
