// Predicted and true classes of voxels, and the probabilities they come from.
#pragma once
#include <cmath>
#include <string>

#include "core/labels.h"
#include "core/measures.h"
#include "core/parallel.h"
#include "core/values.h"
#include "core/view.h"

namespace surprisal {

// Maps of classes (B, C, voxels) beside class indices (B, voxels) or masks like the maps.
struct ClassImages {
  View prediction;  // any float dtype; of one channel its foreground's
  View target;      // class indices int32 or int64, or masks of any dtype
  int64_t batch = 0, channels = 0, voxels = 0;
  bool labels = false;  // the target holds class indices
  int64_t ignore = -100;
  Activation activation = Activation::none;  // of the maps
  const char* caller = "";
  const char* name = "prediction";  // of the maps, in errors
};

inline double number(double x) { return x; }
inline double number(float x) { return x; }
inline double number(Float16 x) { return to_float(x); }
inline double number(BFloat16 x) { return to_float(x); }
inline double number(int32_t x) { return x; }
inline double number(int64_t x) { return static_cast<double>(x); }
inline double number(uint8_t x) { return x; }
inline double number(int8_t x) { return x; }

// Refuses floats that are not finite.
inline void expect_finite_elements(const char* op, const char* name, const View& view) {
  if (!is_float(view.dtype)) return;
  int64_t at = -1;
  visit_float(view.dtype, [&](auto tag) {
    const auto* x = view.as<typename decltype(tag)::type>();
    for (int64_t i = 0; i < view.size && at < 0; ++i)
      if (!std::isfinite(number(x[i]))) at = i;
  });
  if (at >= 0)
    refuse(op, std::string("expected ") + name + " to hold finite numbers, got " +
                   text_of(value_of(view, at)) + " at element " + std::to_string(at));
}

inline void check_class_sizes(const ClassImages& op) {
  const int64_t size = op.batch * op.channels * op.voxels;
  require(op.prediction.size == size && op.channels > 0, "class images: size of prediction");
  require(op.target.size == (op.labels ? op.batch * op.voxels : size), "class images: target");
}

inline void check_class_images(const ClassImages& op) {
  check_class_sizes(op);
  expect_finite_elements(op.caller, op.name, op.prediction);
  expect_finite_elements(op.caller, "target", op.target);
}

// The class of each voxel of maps (B, C, H, W): the first of the largest, of one channel whether it
// reaches `threshold`.
template <class T>
void largest_of(const ClassImages& op, const T* x, double threshold, int32_t* out) {
  const int64_t size = op.voxels;
  parallel_for(op.batch * size, 8192, [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
      const T* at = x + p / size * op.channels * size + p % size;
      if (op.channels == 1) {
        out[p] = number(*at) >= threshold;
        continue;
      }
      int32_t best = 0;
      for (int32_t c = 1; c < op.channels; ++c)
        if (number(at[c * size]) > number(at[best * size])) best = c;
      out[p] = best;
    }
  });
}

inline void predicted_classes(const ClassImages& op, int32_t* out) {
  visit_float(op.prediction.dtype, [&](auto tag) {
    largest_of(op, op.prediction.as<typename decltype(tag)::type>(),
               op.activation == Activation::none ? 0.5 : 0, out);
  });
}

// Ignored voxels are taken as `predicted`, so that nothing is wrong there; without it they are -1.
inline void true_classes(const ClassImages& op, const int32_t* predicted, int32_t* out) {
  if (!op.labels)
    return visit_any(op.target.dtype, [&](auto tag) {
      largest_of(op, op.target.as<typename decltype(tag)::type>(), 0.5, out);
    });
  expect_labels(op.caller, op.target, classes_of(op.channels), op.ignore, true);
  for (int64_t p = 0; p < op.target.size; ++p) {
    const int64_t y = label_at(op.target, p);
    const int32_t ignored = predicted ? predicted[p] : -1;
    out[p] = y == op.ignore ? ignored : static_cast<int32_t>(y);
  }
}

// p of every channel at one voxel, in float64; of one channel, of its foreground.
template <class T>
void probabilities(const ClassImages& op, const T* at, double* p) {
  const int64_t step = op.voxels;
  for (int64_t c = 0; c < op.channels; ++c) p[c] = number(at[c * step]);
  if (op.activation == Activation::none) return;
  if (op.activation == Activation::sigmoid) {
    for (int64_t c = 0; c < op.channels; ++c) {
      const double e = std::exp(-std::fabs(p[c]));
      p[c] = (p[c] < 0 ? e : 1) / (1 + e);
    }
    return;
  }
  double top = p[0], sum = 0;
  for (int64_t c = 1; c < op.channels; ++c) top = std::max(top, p[c]);
  for (int64_t c = 0; c < op.channels; ++c) sum += p[c] = std::exp(p[c] - top);
  for (int64_t c = 0; c < op.channels; ++c) p[c] /= sum;
}

}  // namespace surprisal
