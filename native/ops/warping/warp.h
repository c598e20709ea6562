// Which voxels of one predicted and one true mask stay different when either is warped to the
// other.
#pragma once
#include <algorithm>
#include <vector>

#include "core/distances.h"
#include "core/parallel.h"
#include "core/scratch.h"
#include "core/simple_points.h"

namespace surprisal::warping {

// Memory of one pair of masks at a time, of one shape.
class Warp {
 public:
  Warp(const int64_t (&shape)[3], bool volume, bool corners)
      : volume_(volume),
        corners_(corners),
        size_(shape[0] * shape[1] * shape[2]),
        row_(shape[2] + 2),
        plane_(row_ * (shape[1] + 2)),
        padded_((shape[0] + 2) * plane_),
        warped_(padded_),
        inside_(size_),
        distance_(size_),
        order_(size_) {
    std::copy_n(shape, 3, shape_);
  }

  // Adds to `critical` what differs for these masks.
  void run(const uint8_t* predicted, const uint8_t* truth, uint8_t* critical) {
    bool equal = true;
    for (int64_t i = 0; i < size_ && equal; ++i) equal = predicted[i] == truth[i];
    if (equal) return;
    toward(truth, predicted, critical);
    toward(predicted, truth, critical);
  }

 private:
  struct Place {
    double distance;
    int64_t voxel;
    bool operator<(const Place& o) const {
      return distance != o.distance ? distance < o.distance : voxel < o.voxel;
    }
  };

  // Calls body(i, its place in warped_) for all voxels.
  template <class F>
  void each_voxel(F body) const {
    const int64_t row = shape_[2];
    parallel_for(size_ / row, 8192 / row + 1, [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        const int64_t first = line * row, at = padded(first);
        for (int64_t x = 0; x < row; ++x) body(first + x, at + x);
      }
    });
  }
  int64_t padded(int64_t i) const {
    const int64_t x = i % shape_[2], y = i / shape_[2] % shape_[1], z = i / shape_[2] / shape_[1];
    return (z + 1) * plane_ + (y + 1) * row_ + x + 1;
  }

  void toward(const uint8_t* from, const uint8_t* to, uint8_t* critical) {
    std::fill_n(warped_.data(), padded_, uint8_t{0});
    each_voxel([&](int64_t i, int64_t at) { warped_[at] = from[i]; });
    flip(from, to, 1);
    flip(from, to, 0);
    each_voxel([&](int64_t i, int64_t at) { critical[i] |= warped_[at] != to[i]; });
  }

  // Voxels that are `was` in `from` and not in `to`, the ones nearest to where it is not first.
  void flip(const uint8_t* from, const uint8_t* to, uint8_t was) {
    bool any = false;
    for (int64_t i = 0; i < size_ && !any; ++i) any = from[i] == was && to[i] != was;
    if (!any) return;
    each_voxel([&](int64_t i, int64_t) { inside_[i] = from[i] == was; });
    constexpr double even[3] = {1, 1, 1};
    squared_distances(inside_.data(), shape_, even, distance_.data());
    int64_t count = 0;
    for (int64_t i = 0; i < size_; ++i)
      if (from[i] == was && to[i] != was) order_[count++] = {distance_[i], i};
    std::sort(order_.data(), order_.data() + count);
    for (int64_t k = 0; k < count; ++k) {
      const int64_t at = padded(order_[k].voxel);
      if (is_simple(at)) warped_[at] ^= 1;
    }
  }

  bool is_simple(int64_t at) const {
    uint32_t object = 0;
    for (int z = volume_ ? -1 : 0; z <= (volume_ ? 1 : 0); ++z)
      for (int y = -1; y <= 1; ++y)
        for (int x = -1; x <= 1; ++x)
          object |= uint32_t{warped_[at + z * plane_ + y * row_ + x]}
                    << ((z + 1) * 9 + (y + 1) * 3 + x + 1);
    // The roles of object and background change with their neighbours.
    if (!corners_) object = ~object & 0x7FFFFFFu;
    return volume_ ? table_.simple(object) : table_.simple_in_plane(object);
  }

  const bool volume_, corners_;
  int64_t shape_[3];
  const int64_t size_, row_, plane_, padded_;
  const Neighbourhoods& table_ = Neighbourhoods::table();
  Scratch<uint8_t> warped_, inside_;  // warped_ with a voxel of background all round
  Scratch<double> distance_;
  Scratch<Place> order_;
};

}  // namespace surprisal::warping
