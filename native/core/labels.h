// Class indices of voxels, as targets of segmentations hold them.
#pragma once
#include <string>

#include "core/view.h"

namespace surprisal {

inline int64_t label_at(const View& labels, int64_t i) {
  return labels.dtype == DType::i64 ? labels.as<int64_t>()[i] : labels.as<int32_t>()[i];
}

// The class of the first of so many channels: a single one is the foreground's, class 1.
inline int64_t first_class_of(int64_t channels) { return channels == 1 ? 1 : 0; }
// How many classes there are beside so many channels.
inline int64_t classes_of(int64_t channels) { return first_class_of(channels) + channels; }

// Each in [0, classes), or `ignored`, which only messages with `ignorable` name.
inline void expect_labels(const char* op, const View& labels, int64_t classes, int64_t ignored,
                          bool ignorable) {
  for (int64_t i = 0; i < labels.size; ++i) {
    const int64_t y = label_at(labels, i);
    if ((y >= 0 && y < classes) || (ignorable && y == ignored)) continue;
    const std::string other = ignorable ? " or " + std::to_string(ignored) + " (ignoreIndex)" : "";
    throw Error(Code::out_of_range, std::string(op) + ": expected target in [0, " +
                                        std::to_string(classes) + ")" + other + ", got " +
                                        std::to_string(y) + " at voxel " + std::to_string(i));
  }
}

}  // namespace surprisal
