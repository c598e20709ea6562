#include <algorithm>
#include <cmath>
#include <limits>

#include "core/class_images.h"
#include "core/parallel_large.h"
#include "core/row_loss.h"
#include "ops/warping/op.h"
#include "ops/warping/warp.h"

namespace surprisal::warping {
namespace {

ClassImages images_of(const Problem& op) {
  const auto activation = op.channels == 1 ? Activation::sigmoid : Activation::softmax;
  return {op.logits, op.target, op.batch,   op.channels,   op.shape.count(),
          op.labels, op.ignore, activation, "warpingLoss", "logits"};
}

// Class by class, then together: the true class of critical voxels, else -1.
void find_critical(const Problem& op, const ClassImages& images) {
  const int64_t voxels = images.voxels, classes = std::max<int64_t>(1, op.channels - 1);
  int32_t* const critical = op.critical.as<int32_t>();
  const Scratch<int32_t> predicted(op.batch * voxels);
  const Scratch<uint8_t> found(op.batch * classes * voxels);
  predicted_classes(images, predicted.data());
  true_classes(images, predicted.data(), critical);
  std::fill_n(found.data(), op.batch * classes * voxels, uint8_t{0});
  int64_t shape[3] = {1, 1, 1};
  for (int i = 0; i < op.shape.rank; ++i) shape[3 - op.shape.rank + i] = op.shape[i];
  const int64_t grain = 4096 / (voxels + 1) + 1;
  parallel_for_large(op.batch * classes, grain, [&](int64_t begin, int64_t end) {
    Warp warp(shape, op.shape.rank == 3, op.corners);
    const Scratch<uint8_t> ours(voxels), theirs(voxels);
    for (int64_t k = begin; k < end; ++k) {
      const int64_t first = k / classes * voxels, of = 1 + k % classes;
      parallel_for(voxels, 8192, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) {
          ours[i] = predicted[first + i] == of;
          theirs[i] = critical[first + i] == of;
        }
      });
      warp.run(ours.data(), theirs.data(), found.data() + k * voxels);
    }
  });
  for (int64_t i = 0; i < op.batch * voxels; ++i) {
    const uint8_t* at = found.data() + i / voxels * classes * voxels + i % voxels;
    bool any = false;
    for (int64_t c = 0; c < classes; ++c) any |= at[c * voxels] != 0;
    if (!any) critical[i] = -1;
  }
}

// -log of the probability of the true class, from the logits of one voxel.
template <class T>
double cross_entropy(const ClassImages& op, const T* at, int32_t truth) {
  if (op.channels == 1) {
    const double x = truth ? -number(at[0]) : number(at[0]);
    return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x)));
  }
  double top = number(at[0]), sum = 0;
  for (int64_t c = 1; c < op.channels; ++c) top = std::max(top, number(at[c * op.voxels]));
  for (int64_t c = 0; c < op.channels; ++c) sum += std::exp(number(at[c * op.voxels]) - top);
  return top - number(at[truth * op.voxels]) + std::log(sum);
}

// Voxels whose class is known.
int64_t counted(const Problem& op) {
  if (!op.labels) return op.critical.size;
  int64_t n = 0;
  for (int64_t i = 0; i < op.target.size; ++i) n += label_at(op.target, i) != op.ignore;
  return n;
}

double share(const Problem& op) {
  if (static_cast<Reduction>(op.reduction) != Reduction::mean) return 1;
  return 1 / static_cast<double>(counted(op));
}

// Where an image's voxel has its first channel.
inline int64_t place(const ClassImages& op, int64_t i) {
  return i / op.voxels * op.channels * op.voxels + i % op.voxels;
}

template <class T>
void forward_as(const Forward& op, const ClassImages& images) {
  const T* x = op.logits.as<T>();
  const bool each = static_cast<Reduction>(op.reduction) == Reduction::none;
  double total = 0;
  for (int64_t i = 0; i < op.critical.size; ++i) {
    const int32_t truth = op.critical.as<int32_t>()[i];
    const double loss = truth < 0 ? 0 : cross_entropy(images, x + place(images, i), truth);
    if (each) set_value(op.loss, i, loss);
    total += loss;
  }
  if (each) return;
  // Without any voxel there is no critical one: the mean is NaN, infinity times 0.
  set_value(op.loss, 0, share(op) * total);
}

template <class T>
void backward_as(const Backward& op, const ClassImages& images) {
  T* const grad = op.grad.as<T>();
  std::fill_n(grad, op.grad.size, T{});
  const bool each = static_cast<Reduction>(op.reduction) == Reduction::none;
  const double factor = share(op);
  parallel_for(op.critical.size, 8192, [&](int64_t begin, int64_t end) {
    const Scratch<double> p(op.channels);
    for (int64_t i = begin; i < end; ++i) {
      const int32_t truth = op.critical.as<int32_t>()[i];
      if (truth < 0) continue;
      const double slope = factor * value_of(op.upstream, each ? i : 0);
      const int64_t at = place(images, i);
      probabilities(images, op.logits.as<T>() + at, p.data());
      if (op.channels == 1) p[0] -= truth;
      if (op.channels > 1) p[truth] -= 1;
      for (int64_t c = 0; c < op.channels; ++c)
        grad[at + c * images.voxels] = element_of<T>(slope * p[c]);
    }
  });
}

// `losses`: what forward writes, or the gradients by it.
void check_sizes(const Problem& op, const ClassImages& images, const View& losses) {
  require(op.shape.rank == 2 || op.shape.rank == 3, "warping: axes");
  check_class_sizes(images);
  require(op.critical.size == op.batch * images.voxels, "warping: size of critical");
  const bool each = static_cast<Reduction>(op.reduction) == Reduction::none;
  require(losses.size == (each ? op.critical.size : 1), "warping: size of the loss");
}

}  // namespace

void forward(const Forward& op) {
  const ClassImages images = images_of(op);
  check_sizes(op, images, op.loss);
  check_class_images(images);
  find_critical(op, images);
  visit_float(op.logits.dtype,
              [&](auto tag) { forward_as<typename decltype(tag)::type>(op, images); });
}

void backward(const Backward& op) {
  const ClassImages images = images_of(op);
  check_sizes(op, images, op.upstream);
  require(op.grad.size == op.logits.size && op.grad.dtype == op.logits.dtype, "warping: grad");
  visit_float(op.logits.dtype,
              [&](auto tag) { backward_as<typename decltype(tag)::type>(op, images); });
}

}  // namespace surprisal::warping
