#include "ops/cl_dice/op.h"

#include <limits>

#include "core/labels.h"
#include "core/parallel.h"
#include "core/row_loss.h"
#include "core/scratch.h"
#include "core/values.h"

#define SURPRISAL_BODY "ops/cl_dice/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::cl_dice {
namespace {

void check(const Problem& op) {
  const int64_t voxels = op.planes * op.rows * op.columns, size = op.batch * op.channels * voxels;
  require(op.prediction.size == size, "clDice: size of prediction");
  require(op.target.size == (op.labels ? op.batch * voxels : size), "clDice: size of target");
  require(!op.skeleton || op.skeleton.size == size, "clDice: size of the skeleton");
  require(op.iterations >= 0 && op.scored() >= 0, "clDice: iterations and channels");
  if (op.labels) expect_labels("clDice", op.target, classes_of(op.channels), 0, false);
}

// above/below and its derivative by its denominator; 1 where there is nothing: nothing is missed.
struct Quotient {
  double value, inverse;
  Quotient(double above, double below)
      : value(above == 0 && below == 0 ? 1 : above / below), inverse(below == 0 ? 0 : 1 / below) {}
};

// The loss of a unit from its sums, and kSlopes factors.
double score(const Forward& op, const double* sums, double* slopes) {
  const double s = op.smooth, w = op.dice_weight;
  const double* const of_p = sums + kOfPrediction;
  const double* const of_y = sums + kOfTarget;
  const double* const both = sums + kOverlap;
  const Quotient a(of_p[0] + s, of_p[1] + s), b(of_y[0] + s, of_y[1] + s);
  const double total = a.value + b.value;
  const double mean = total == 0 ? 0 : 2 * a.value * b.value / total;
  const Quotient dice(2 * both[0] + s, both[1] + both[2] + s);
  const double by_a = total == 0 ? 0 : -2 * b.value * b.value / (total * total);
  const double by_b = total == 0 ? 0 : -2 * a.value * a.value / (total * total);
  slopes[0] = (1 - w) * by_a * a.inverse;
  slopes[1] = -slopes[0] * a.value;
  slopes[2] = (1 - w) * by_b * b.inverse;
  slopes[3] = -2 * w * dice.inverse;
  slopes[4] = w * dice.value * dice.inverse;
  return (1 - w) * (1 - mean) + w * (1 - dice.value);
}

bool is_reduced(const Problem& op) {
  return static_cast<Reduction>(op.reduction) != Reduction::none;
}

}  // namespace

void forward(const Forward& op) {
  check(op);
  const int64_t images = op.batch * op.scored(), units = op.units();
  require(op.loss.size == (is_reduced(op) ? 1 : units), "clDice: size of loss");
  require(!op.slopes || op.slopes.size == units * kSlopes, "clDice: slopes");
  require(!op.kept || op.kept.size == op.prediction.size, "clDice: size of kept");
  const Scratch<double> parts(images * kSums), sums(units * kSums);
  std::fill_n(parts.data(), images * kSums, 0.0);
  if (op.planes * op.rows * op.columns > 0) SURPRISAL_DISPATCH(cl_dice::sum, op, parts.data());
  std::fill_n(sums.data(), units * kSums, 0.0);
  for (int64_t i = 0; i < images * kSums; ++i)
    sums[op.unit_of(i / kSums) * kSums + i % kSums] += parts[i];
  double total = 0;
  for (int64_t n = 0; n < units; ++n) {
    double slopes[kSlopes];
    const double loss = score(op, &sums[n * kSums], slopes);
    total += loss;
    if (!is_reduced(op)) set_value(op.loss, n, loss);
    if (op.slopes) std::copy_n(slopes, kSlopes, op.slopes.as<double>() + n * kSlopes);
  }
  if (!is_reduced(op)) return;
  if (static_cast<Reduction>(op.reduction) == Reduction::mean)
    total = units == 0 ? std::numeric_limits<double>::quiet_NaN() : total / units;
  set_value(op.loss, 0, total);
}

void backward(const Backward& op) {
  check(op);
  const int64_t units = op.units();
  require(op.grad.size == op.prediction.size && op.slopes.size == units * kSlopes,
          "clDice: sizes of backward");
  require(bool(op.skeleton) || op.grad.size == 0, "clDice: no skeleton");
  require(op.upstream.size == (is_reduced(op) ? 1 : units), "clDice: upstream");
  const bool mean = static_cast<Reduction>(op.reduction) == Reduction::mean;
  const Scratch<double> slopes(units * kSlopes);
  for (int64_t i = 0; i < units * kSlopes; ++i) {
    const double upstream = value_of(op.upstream, is_reduced(op) ? 0 : i / kSlopes);
    slopes[i] = op.slopes.as<double>()[i] * upstream / (mean ? units : 1);
  }
  // Of channels that are not scored; zero bits are 0 in every dtype.
  if (op.first_channel > 0) std::memset(op.grad.data, 0, op.grad.size * size_of(op.grad.dtype));
  if (op.grad.size > 0) SURPRISAL_DISPATCH(cl_dice::differentiate, op, slopes.data());
}

}  // namespace surprisal::cl_dice
