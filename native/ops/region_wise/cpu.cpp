#include <algorithm>
#include <cmath>

#include "core/class_images.h"
#include "core/distances.h"
#include "core/parallel_large.h"
#include "core/scratch.h"
#include "ops/region_wise/op.h"

namespace surprisal::region_wise {
namespace {

// Whether the voxels of an image are of a class; a single channel is of class 1.
void mask_of(const Map& op, const int32_t* classes, int64_t image, int64_t channel, int64_t voxels,
             uint8_t* mask) {
  if (op.labels) {
    const int32_t of = static_cast<int32_t>(op.channels == 1 ? 1 : channel);
    return parallel_for(voxels, 8192, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) mask[i] = classes[image * voxels + i] == of;
    });
  }
  visit_any(op.target.dtype, [&](auto tag) {
    const auto* x = op.target.as<typename decltype(tag)::type>();
    x += (image * op.channels + channel) * voxels;
    parallel_for(voxels, 8192, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) mask[i] = number(x[i]) >= 0.5;
    });
  });
}

template <class T>
void write_weights(const int32_t* classes, int64_t batch, int64_t voxels, T* out) {
  for (int64_t b = 0; b < batch; ++b) {
    const int32_t* of = classes + b * voxels;
    const int64_t counted = voxels - std::count(of, of + voxels, -1);
    const T weight = static_cast<T>(static_cast<double>(voxels) / static_cast<double>(counted));
    for (int64_t i = 0; i < voxels; ++i) out[b * voxels + i] = of[i] < 0 ? T{0} : weight;
  }
}

template <class T>
void map_as(const Map& op) {
  int64_t shape[3] = {1, 1, 1};
  double spacing[3] = {1, 1, 1};
  for (int i = 0; i < op.shape.rank; ++i) {
    shape[3 - op.shape.rank + i] = op.shape[i];
    spacing[3 - op.shape.rank + i] = op.spacing.as<double>()[i];
  }
  const int64_t voxels = op.shape.count();
  const Scratch<int32_t> classes(op.labels ? op.batch * voxels : 0);
  if (op.labels) {
    ClassImages images{{},   op.target, op.batch,         op.channels,        voxels,
                       true, op.ignore, Activation::none, kCallers[op.caller]};
    true_classes(images, nullptr, classes.data());
    if (op.weights) write_weights(classes.data(), op.batch, voxels, op.weights.as<T>());
  }
  T* const map = op.map.as<T>();
  const int64_t grain = 4096 / (voxels + 1) + 1;
  parallel_for_large(op.batch * op.channels, grain, [&](int64_t begin, int64_t end) {
    const Scratch<uint8_t> mask(voxels);
    const Scratch<double> distance(voxels);
    for (int64_t k = begin; k < end; ++k) {
      const int64_t channel = k % op.channels;
      mask_of(op, classes.data(), k / op.channels, channel, voxels, mask.data());
      squared_distances(mask.data(), shape, spacing, distance.data());
      const double most =
          std::sqrt(voxels ? *std::max_element(distance.data(), distance.data() + voxels) : 0);
      const double outside = op.outside.as<double>()[channel];
      T* const out = map + k * voxels;
      parallel_for(voxels, 8192, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
          const double inside = std::isinf(most) ? -1 : -std::sqrt(distance[i]) / most;
          const bool ignored = op.labels && classes[k / op.channels * voxels + i] < 0;
          out[i] = static_cast<T>(ignored ? 0 : mask[i] ? inside : outside);
        }
      });
    }
  });
}

}  // namespace

void map(const Map& op) {
  const int64_t voxels = op.shape.count();
  require(op.caller >= 0 && op.caller < 2, "regionWise: caller");
  require(op.shape.rank >= 1 && op.shape.rank <= 3, "regionWise: axes");
  require(op.map.size == op.batch * op.channels * voxels, "regionWise: size of map");
  require(op.target.size == (op.labels ? op.batch * voxels : op.map.size), "regionWise: target");
  require(!op.weights || (op.labels && op.weights.size == op.batch * voxels &&
                          op.weights.dtype == op.map.dtype),
          "regionWise: weights");
  require(op.spacing.size == op.shape.rank && op.outside.size == op.channels, "regionWise: lists");
  expect_finite_elements(kCallers[op.caller], "target", op.target);
  op.map.dtype == DType::f64 ? map_as<double>(op) : map_as<float>(op);
}

}  // namespace surprisal::region_wise
