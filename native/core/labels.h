// Class indices of voxels, as targets of segmentations hold them, and what makes probabilities of
// the maps beside them.
#pragma once
#include <string>

#include "core/view.h"

namespace surprisal {

enum class Activation : int32_t { none, sigmoid, softmax };

inline int64_t label_at(const View& labels, int64_t i) {
  return labels.dtype == DType::i64 ? labels.as<int64_t>()[i] : labels.as<int32_t>()[i];
}

// The class of the first of so many channels: a single one is the foreground's, class 1.
inline int64_t first_class_of(int64_t channels) { return channels == 1 ? 1 : 0; }
// How many classes there are beside so many channels.
inline int64_t classes_of(int64_t channels) { return first_class_of(channels) + channels; }

// `ignored` is named only where it may be there.
[[noreturn]] inline void refuse_label(const char* op, int64_t classes, int64_t ignored,
                                      bool ignorable, int64_t label, int64_t at) {
  const std::string other = ignorable ? " or " + std::to_string(ignored) + " (ignoreIndex)" : "";
  throw Error(Code::out_of_range, std::string(op) + ": expected target in [0, " +
                                      std::to_string(classes) + ")" + other + ", got " +
                                      std::to_string(label) + " at voxel " + std::to_string(at));
}

// Each in [0, classes), or, if `ignorable`, `ignored`.
inline void expect_labels(const char* op, const View& labels, int64_t classes, int64_t ignored,
                          bool ignorable) {
  for (int64_t i = 0; i < labels.size; ++i) {
    const int64_t y = label_at(labels, i);
    if ((y >= 0 && y < classes) || (ignorable && y == ignored)) continue;
    refuse_label(op, classes, ignored, ignorable, y, i);
  }
}

}  // namespace surprisal
