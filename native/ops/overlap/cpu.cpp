#include <cmath>
#include <limits>
#include <string>

#include "core/measures.h"
#include "core/parallel.h"
#include "core/ranges.h"
#include "core/row_loss.h"
#include "core/scratch.h"
#include "core/values.h"
#include "ops/overlap/op.h"

#define SURPRISAL_BODY "ops/overlap/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::overlap {
namespace {

constexpr const char* kNames[] = {"diceLoss", "jaccardLoss", "tverskyLoss", "skeletonRecallLoss"};

struct Score {
  double loss, by_overlap, by_size;
};

Score score(const Forward& op, const double* sums) {
  const double above = op.k * sums[0] + op.smooth;
  const double below = op.u * sums[0] + op.a * sums[1] + op.b * sums[2] + op.smooth;
  // Nothing there and nothing predicted, without smoothing: nothing is wrong.
  if (above == 0 && below == 0) return {0, 0, 0};
  const double index = above / below, rest = op.from - index;
  const double base = rest < 0 ? 0 : rest;  // an index above 1 by rounding
  const double loss = op.exponent == 1 ? rest : std::pow(base, op.exponent);
  // By the index; at a perfect overlap an exponent below 1 would make it infinite.
  double slope = -1;
  if (op.exponent != 1) slope = base > 0 ? -op.exponent * std::pow(base, op.exponent - 1) : 0;
  return {loss, slope * (op.k - op.u * index) / below, slope * -op.a * index / below};
}

void check(const Problem& op) {
  const int64_t size = op.batch * op.channels * op.voxels;
  require(op.caller >= 0 && op.caller < 4, "overlap: caller");
  require(op.image.size == size, "overlap: size of the image");
  require(op.target.size == (op.labels ? op.batch * op.voxels : size), "overlap: size of target");
  require(!op.weight || op.weight.size == op.batch * op.voxels, "overlap: size of weight");
  if (op.labels)
    expect_labels(kNames[op.caller], op.target, classes_of(op.channels), op.ignore, true);
}

void check_weights(const Problem& op) {
  const int64_t i = op.weight ? first_outside(op.weight, Range::finite) : -1;
  if (i < 0) return;
  refuse(kNames[op.caller], "expected voxelWeight to hold finite numbers of at least 0, got " +
                                text_of(value_of(op.weight, i)) + " at voxel " + std::to_string(i));
}

}  // namespace

void forward(const Forward& op) {
  check(op);
  check_weights(op);
  const int64_t units = op.over_batch ? 1 : op.batch;
  const int64_t scored = op.channels - op.first_channel;
  const auto reduction = static_cast<Reduction>(op.reduction);
  const bool reduced = reduction != Reduction::none;
  require(op.loss.size == (reduced ? 1 : units * scored), "overlap: size of loss");
  require(!op.slopes || op.slopes.size == op.batch * op.channels * 2, "overlap: slopes");
  // Of no images too there is an overlap over the batch.
  const Scratch<double> sums(std::max(units, op.batch) * op.channels * 3);
  std::fill_n(sums.data(), units * op.channels * 3, 0.0);
  SURPRISAL_DISPATCH(overlap::sum, op, sums.data());
  if (op.over_batch) {
    for (int64_t i = op.channels * 3; i < op.batch * op.channels * 3; ++i)
      sums[i % (op.channels * 3)] += sums[i];
  }
  if (op.slopes) std::fill_n(op.slopes.as<double>(), op.slopes.size, 0.0);
  double total = 0;
  for (int64_t n = 0; n < units; ++n) {
    for (int64_t c = op.first_channel; c < op.channels; ++c) {
      const Score s = score(op, &sums[(n * op.channels + c) * 3]);
      total += s.loss;
      if (!reduced) set_value(op.loss, n * scored + c - op.first_channel, s.loss);
      // Of the whole batch: the same for each of its images.
      for (int64_t b = n; op.slopes && b < (op.over_batch ? op.batch : n + 1); ++b) {
        double* const to = op.slopes.as<double>() + (b * op.channels + c) * 2;
        to[0] = s.by_overlap;
        to[1] = s.by_size;
      }
    }
  }
  if (!reduced) return;
  const double count = static_cast<double>(units * scored);
  if (reduction == Reduction::mean)
    total = count == 0 ? std::numeric_limits<double>::quiet_NaN() : total / count;
  set_value(op.loss, 0, total);
}

void backward(const Backward& op) {
  check(op);
  const int64_t units = op.over_batch ? 1 : op.batch;
  const int64_t scored = op.channels - op.first_channel;
  const auto reduction = static_cast<Reduction>(op.reduction);
  const double share = reduction == Reduction::mean
                           ? 1 / static_cast<double>(std::max<int64_t>(1, units * scored))
                           : 1;
  const Scratch<double> slopes(op.batch * op.channels * 2);
  for (int64_t i = 0; i < op.slopes.size; ++i) {
    const int64_t b = i / (2 * op.channels), c = i / 2 % op.channels - op.first_channel;
    const int64_t place =
        reduction == Reduction::none && c >= 0 ? (op.over_batch ? 0 : b * scored) + c : 0;
    slopes[i] = c < 0 ? 0 : op.slopes.as<double>()[i] * share * value_of(op.upstream, place);
  }
  SURPRISAL_DISPATCH(overlap::differentiate, op, slopes.data(), op.grad);
}

}  // namespace surprisal::overlap
