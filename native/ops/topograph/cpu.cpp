#include <algorithm>
#include <cmath>
#include <limits>

#include "core/class_images.h"
#include "core/row_loss.h"
#include "ops/topograph/op.h"
#include "ops/topograph/regions.h"

namespace surprisal::topograph {
namespace {

int64_t area(const Problem& op) { return op.height * op.width; }
// The classes that count: of one channel, class 1.
int64_t first_class(const Problem& op) { return op.channels == 1 || !op.background ? 1 : 0; }
int64_t scored(const Problem& op) { return op.channels == 1 ? 1 : op.channels - first_class(op); }

ClassImages images_of(const Problem& op) {
  require(op.caller >= 0 && op.caller < 2, "topograph: caller");
  const auto activation = static_cast<Activation>(op.activation);
  return {op.prediction, op.target, op.batch,   op.channels,        area(op),
          op.labels,     op.ignore, activation, kCallers[op.caller]};
}

// A plane of classes, with a pixel of class 0 all round it where asked for.
struct Plane {
  Plane(const Problem& op, bool ring)
      : border(ring ? 1 : 0),
        height(op.height + 2 * border),
        width(op.width + 2 * border),
        inner(op.width) {}

  int64_t size() const { return height * width; }
  // Of a pixel that is not in the ring.
  int64_t inside(int64_t i) const { return (i / width - border) * inner + i % width - border; }

  const int64_t border, height, width, inner;
};

// Predicted and true foreground as bits, turned by `flip`, `ring` all round; whether any is wrong.
bool find_kinds(const Plane& plane, const int32_t* predicted, const int32_t* truth, int32_t of,
                uint8_t flip, uint8_t ring, uint8_t* kinds) {
  if (plane.border) std::fill_n(kinds, plane.size(), ring);
  uint8_t any = 0;
  for (int64_t y = 0; y < plane.height - 2 * plane.border; ++y) {
    const int32_t *ours = predicted + y * plane.inner, *theirs = truth + y * plane.inner;
    uint8_t* const row = kinds + (y + plane.border) * plane.width + plane.border;
    for (int64_t x = 0; x < plane.inner; ++x) {
      const uint8_t mine = ours[x] == of, right = theirs[x] == of;
      any |= mine ^ right;
      row[x] = static_cast<uint8_t>((mine | right << 1) ^ flip);
    }
  }
  return any != 0;
}

// One class of one image, added up region by region.
// T: of the prediction, A: of loss and slopes.
template <class T, class A>
class ClassLoss {
 public:
  ClassLoss(const Forward& op)
      : op_(op),
        images_(images_of(op)),
        plane_(op, op.sphere),
        regions_(plane_.height, plane_.width),
        kinds_(plane_.size()),
        count_(plane_.size()),
        sum_(plane_.size()),
        p_(op.channels) {}

  double run(int64_t image, int32_t of) {
    const int64_t size = area(op_);
    predicted_ = op_.classes.as<int32_t>() + image * 2 * size;
    x_ = op_.prediction.as<T>() + image * op_.channels * size;
    const uint8_t flip = op_.eight ? 0 : 3;
    const uint8_t ring = (of == 0 ? 3 : 0) ^ flip;
    if (!find_kinds(plane_, predicted_, predicted_ + size, of, flip, ring, kinds_.data())) return 0;
    regions_.find(kinds_.data());
    std::fill_n(count_.data(), regions_.runs().size(), 0);
    each_critical([&](int64_t i, int32_t root) { take(root, chance(i)); });
    const double loss = finish();
    if (op_.slopes) {
      A* const slopes = op_.slopes.as<A>() + image * 2 * size;
      each_critical([&](int64_t i, int32_t root) {
        // Of one channel the background's is 1 - p.
        const double sign = op_.channels == 1 && predicted_[i] == 0 ? -1 : 1;
        slopes[predicted_[i] == of ? i : size + i] = static_cast<A>(sign * slope(root, chance(i)));
      });
    }
    return loss;
  }

 private:
  Aggregation how() const { return static_cast<Aggregation>(op_.aggregation); }

  template <class F>
  void each_critical(F&& f) {
    const Runs& runs = regions_.runs();
    for (int32_t run = 0; run < runs.size(); ++run) {
      if (!is_wrong(runs.kind(run))) continue;
      const int32_t region = regions_.region(run);
      if (!regions_.is_critical(region)) continue;
      for (int32_t i = runs.begin(run); i < runs.end(run); ++i) f(plane_.inside(i), region);
    }
  }

  // p of the predicted class at a pixel.
  double chance(int64_t i) const {
    probabilities(images_, x_ + i, p_.data());
    if (op_.channels == 1) return predicted_[i] == 1 ? p_[0] : 1 - p_[0];
    return p_[predicted_[i]];
  }

  void take(int32_t root, double p) {
    double& sum = sum_[root];
    if (count_[root]++ == 0) {
      sum = how() == Aggregation::rms ? p * p : p;
      return;
    }
    switch (how()) {
      case Aggregation::rms:
        sum += p * p;
        break;
      case Aggregation::max:
        sum = std::max(sum, p);
        break;
      case Aggregation::min:
        sum = std::min(sum, p);
        break;
      default:
        sum += p;
    }
  }

  // The sum over the regions; sum_ becomes each one's value.
  double finish() {
    double total = 0;
    for (int64_t i = 0; i < regions_.runs().size(); ++i) {
      if (count_[i] == 0) continue;
      if (how() == Aggregation::mean) sum_[i] /= count_[i];
      if (how() == Aggregation::rms) sum_[i] = std::sqrt(sum_[i] / count_[i]);
      total += sum_[i];
    }
    return total;
  }

  // By p of one pixel; of equal extrema the first has it all.
  double slope(int32_t root, double p) {
    switch (how()) {
      case Aggregation::mean:
        return 1.0 / count_[root];
      case Aggregation::rms:
        return sum_[root] == 0 ? 0 : p / (count_[root] * sum_[root]);
      case Aggregation::sum:
        return 1;
      default:
        if (p != sum_[root] || count_[root] < 0) return 0;
        count_[root] = -1;
        return 1;
    }
  }

  const Forward& op_;
  const ClassImages images_;
  const Plane plane_;
  Regions regions_;
  const int32_t* predicted_ = nullptr;
  const T* x_ = nullptr;
  Scratch<uint8_t> kinds_;
  Scratch<int32_t> count_;  // by root of a critical region: pixels
  Scratch<double> sum_;     // and their p
  Scratch<double> p_;       // of one pixel, by channel
};

void write(const View& out, const Scratch<double>& each, int64_t count, int32_t how) {
  const auto reduction = static_cast<Reduction>(how);
  double total = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (reduction == Reduction::none) set_value(out, i, each[i]);
    total += each[i];
  }
  if (reduction == Reduction::none) return;
  if (reduction == Reduction::mean)
    total = count == 0 ? std::numeric_limits<double>::quiet_NaN() : total / count;
  set_value(out, 0, total);
}

template <class T, class A>
void forward_as(const Forward& op) {
  const int64_t size = area(op), count = op.batch * scored(op);
  int32_t* const classes = op.classes.as<int32_t>();
  const Scratch<int32_t> flat(2 * op.batch * size);
  predicted_classes(images_of(op), flat.data());
  true_classes(images_of(op), flat.data(), flat.data() + op.batch * size);
  for (int64_t b = 0; b < op.batch; ++b)
    for (int64_t k = 0; k < 2; ++k)
      std::copy_n(flat.data() + (k * op.batch + b) * size, size, classes + (2 * b + k) * size);
  if (op.slopes) std::fill_n(op.slopes.as<A>(), op.slopes.size, A{0});
  const Scratch<double> each(count);
  parallel_for(count, 4096 / (size + 1) + 1, [&](int64_t begin, int64_t end) {
    ClassLoss<T, A> loss(op);
    for (int64_t i = begin; i < end; ++i)
      each[i] = loss.run(i / scored(op), static_cast<int32_t>(first_class(op) + i % scored(op)));
  });
  write(op.loss, each, count, op.reduction);
}

// One pixel: slopes by p of the predicted class, then by the logits where there are any.
template <class T, class A>
void backward_as(const Backward& op) {
  const int64_t size = area(op), first = first_class(op), count = op.batch * scored(op);
  const auto reduction = static_cast<Reduction>(op.reduction);
  const double share = reduction == Reduction::mean ? 1.0 / std::max<int64_t>(1, count) : 1;
  const auto upstream = [&](int64_t image, int32_t of) {
    if (of < first) return 0.0;
    const int64_t at = reduction == Reduction::none ? image * scored(op) + of - first : 0;
    return share * value_of(op.upstream, at);
  };
  T* const grad = op.grad.as<T>();
  const ClassImages images = images_of(op);
  std::fill_n(grad, op.grad.size, T{});
  parallel_for(op.batch * size, 8192, [&](int64_t begin, int64_t end) {
    const Scratch<double> p(op.channels);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t image = i / size, at = i % size, pair = image * 2 * size + at;
      const double ours = op.slopes.as<A>()[pair], theirs = op.slopes.as<A>()[pair + size];
      if (ours == 0 && theirs == 0) continue;
      const int32_t predicted = op.classes.as<int32_t>()[pair];
      const int32_t truth = op.classes.as<int32_t>()[pair + size];
      // Of one channel, class 1 is the one that counts, whichever of the two it is here.
      const double by_ours = upstream(image, op.channels == 1 ? 1 : predicted);
      const double by_truth = upstream(image, op.channels == 1 ? 1 : truth);
      const double slope = by_ours * ours + by_truth * theirs;
      const int64_t pixel = image * op.channels * size + at;
      const int64_t channel = op.channels == 1 ? 0 : predicted;
      if (images.activation == Activation::none) {
        grad[pixel + channel * size] = element_of<T>(slope);
        continue;
      }
      probabilities(images, op.prediction.as<T>() + pixel, p.data());
      for (int64_t c = 0; c < op.channels; ++c) {
        const double here = c == channel ? 1 : 0;
        const double inner =
            images.activation == Activation::softmax ? here - p[c] : here * (1 - p[c]);
        grad[pixel + c * size] = element_of<T>(slope * p[channel] * inner);
      }
    }
  });
}

// Ranks of the maps that an inclusion of masks induces: of its components, how many of the larger
// mask's have some of the smaller's.
class Inclusion {
 public:
  explicit Inclusion(const Plane& plane)
      : runs_(plane.height, plane.width),
        small_(plane.size()),
        large_(plane.size()),
        met_(plane.size()) {}

  void find(const uint8_t* kinds) { runs_.find(kinds); }

  // dim ker + dim coker on components, of the mask `small` in `large`, both tests of kinds.
  template <class S, class L>
  int64_t discrepancy(bool eight, S small, L large) {
    small_.clear(runs_.size());
    large_.clear(runs_.size());
    const auto join = [&](int32_t i, int32_t j) {
      const uint8_t a = runs_.kind(i), b = runs_.kind(j);
      if (small(a) && small(b)) small_.join(i, j);
      if (large(a) && large(b)) large_.join(i, j);
    };
    runs_.each_touch(join, [&](int32_t i, int32_t j, int32_t, int32_t) {
      if (eight) join(i, j);
    });
    std::fill_n(met_.data(), runs_.size(), uint8_t{0});
    int64_t out = 0, met = 0;
    for (int32_t i = 0; i < runs_.size(); ++i) {
      if (large(runs_.kind(i)) && large_.root(i) == i) ++out;
      if (!small(runs_.kind(i))) continue;
      if (small_.root(i) == i) ++out;
      uint8_t& known = met_[large_.root(i)];
      met += known == 0;
      known = 1;
    }
    return out - 2 * met;
  }

 private:
  Runs runs_;
  Components small_, large_;
  Scratch<uint8_t> met_;
};

void check_losses(const Problem& op, int32_t reduction, const View& losses) {
  const bool each = static_cast<Reduction>(reduction) == Reduction::none;
  require(losses.size == (each ? op.batch * scored(op) : 1), "topograph: size of the loss");
}
// What backward takes from forward.
void check_saved(const Problem& op, const View& classes, const View& slopes) {
  const int64_t size = op.batch * 2 * area(op);
  require(classes.size == size && (!slopes || slopes.size == size), "topograph: classes or slopes");
}

}  // namespace

void forward(const Forward& op) {
  check_class_images(images_of(op));
  check_losses(op, op.reduction, op.loss);
  check_saved(op, op.classes, op.slopes);
  visit_float(op.prediction.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    forward_as<T, accumulator_t<T>>(op);
  });
}

void backward(const Backward& op) {
  check_class_sizes(images_of(op));
  check_losses(op, op.reduction, op.upstream);
  check_saved(op, op.classes, op.slopes);
  require(op.slopes.size == op.classes.size && op.grad.size == op.prediction.size &&
              op.grad.dtype == op.prediction.dtype,
          "topograph: grad");
  visit_float(op.prediction.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    backward_as<T, accumulator_t<T>>(op);
  });
}

// In the plane with a ring of background: loops are components of the complement, but for the one
// outside, which is in both.
void metric(const Metric& op) {
  check_class_images(images_of(op));
  check_losses(op, op.reduction, op.error);
  const int64_t size = area(op), count = op.batch * scored(op);
  const Scratch<int32_t> predicted(op.batch * size), truth(op.batch * size);
  predicted_classes(images_of(op), predicted.data());
  true_classes(images_of(op), predicted.data(), truth.data());
  const Scratch<double> each(count);
  parallel_for(count, 4096 / (size + 1) + 1, [&](int64_t begin, int64_t end) {
    const Plane plane(op, true);
    const Scratch<uint8_t> kinds(plane.size());
    Inclusion inclusion(plane);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = i / scored(op) * size;
      const int32_t of = static_cast<int32_t>(first_class(op) + i % scored(op));
      find_kinds(plane, predicted.data() + at, truth.data() + at, of, 0, 0, kinds.data());
      inclusion.find(kinds.data());
      each[i] = static_cast<double>(
          inclusion.discrepancy(
              op.eight, [](uint8_t k) { return k == 3; }, [](uint8_t k) { return k != 0; }) +
          inclusion.discrepancy(
              !op.eight, [](uint8_t k) { return k == 0; }, [](uint8_t k) { return k != 3; }));
    }
  });
  write(op.error, each, count, op.reduction);
}

}  // namespace surprisal::topograph
