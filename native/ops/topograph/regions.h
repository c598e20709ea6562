// Components of pixels, and the regions of a predicted and a true mask with their neighbours.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/scratch.h"

namespace surprisal::topograph {

// A union-find over the pixels of a plane; the root of a set is its first pixel.
class Components {
 public:
  explicit Components(int64_t size) : size_(size), parent_(size) { clear(); }

  void clear() {
    for (int64_t i = 0; i < size_; ++i) parent_[i] = static_cast<int32_t>(i);
  }
  int32_t root(int32_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  void join(int32_t i, int32_t j) {
    const int32_t a = root(i), b = root(j);
    parent_[std::max(a, b)] = std::min(a, b);
  }

 private:
  const int64_t size_;
  Scratch<int32_t> parent_;
};

// Calls f(i, j) for all pixels that share a side.
template <class F>
void each_side(int64_t height, int64_t width, F&& f) {
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const int32_t i = static_cast<int32_t>(y * width + x);
      if (x + 1 < width) f(i, i + 1);
      if (y + 1 < height) f(i, static_cast<int32_t>(i + width));
    }
  }
}

// Calls f(i, j, u, v) for all pixels i, j that share but a corner, whose other two are u and v.
template <class F>
void each_corner(int64_t height, int64_t width, F&& f) {
  for (int64_t y = 0; y + 1 < height; ++y) {
    for (int64_t x = 0; x + 1 < width; ++x) {
      const int32_t i = static_cast<int32_t>(y * width + x), down = static_cast<int32_t>(i + width);
      f(i, down + 1, i + 1, down);
      f(i + 1, down, i, down + 1);
    }
  }
}

// What a pixel is: bit 0, predicted foreground; bit 1, truly so.
constexpr uint8_t kBackground = 0, kFalsePositive = 1, kFalseNegative = 2, kForeground = 3;
inline bool is_wrong(uint8_t kind) { return kind == kFalsePositive || kind == kFalseNegative; }

// How two pixels that share a corner touch, foreground being 8-connected.
enum class Touch { none, mask, region };
inline Touch touch(uint8_t a, uint8_t b, uint8_t u, uint8_t v) {
  if (a == kBackground || b == kBackground) return Touch::none;
  if (a == kForeground || b == kForeground) return Touch::region;
  if (u == kBackground && v == kBackground) return Touch::region;
  // Of one mask alone: the other one runs between the two of them.
  const bool crossed = (u == kBackground && v == (a ^ 3)) || (v == kBackground && u == (a ^ 3));
  return a == b && crossed ? Touch::mask : Touch::none;
}

// The regions of one plane; memory of one thread.
class Regions {
 public:
  Regions(int64_t height, int64_t width)
      : height_(height),
        width_(width),
        regions_(height * width),
        masks_{Components(height * width), Components(height * width)},
        neighbour_(2 * height * width),
        several_(height * width) {}

  void find(const uint8_t* kinds) {
    kinds_ = kinds;
    join();
    const int64_t size = height_ * width_;
    std::fill_n(neighbour_.data(), 2 * size, -1);
    std::fill_n(several_.data(), size, uint8_t{0});
    const auto both = [&](int32_t i, int32_t j) {
      see(i, j);
      see(j, i);
    };
    each_side(height_, width_, both);
    each_corner(height_, width_, [&](int32_t i, int32_t j, int32_t u, int32_t v) {
      if (touch(kinds[i], kinds[j], kinds[u], kinds[v]) == Touch::region) both(i, j);
    });
  }

  int32_t region(int32_t i) { return regions_.root(i); }
  // Of the root of a wrong region.
  bool is_critical(int32_t root) const {
    return several_[root] || neighbour_[2 * root] < 0 || neighbour_[2 * root + 1] < 0;
  }

 private:
  void join() {
    regions_.clear();
    for (Components& mask : masks_) mask.clear();
    const auto meet = [&](int32_t i, int32_t j, bool as_region) {
      const uint8_t a = kinds_[i], b = kinds_[j];
      if (as_region && a == b) regions_.join(i, j);
      for (int k = 0; k < 2; ++k)
        if (a & b & (1 << k)) masks_[k].join(i, j);
    };
    each_side(height_, width_, [&](int32_t i, int32_t j) { meet(i, j, true); });
    each_corner(height_, width_, [&](int32_t i, int32_t j, int32_t u, int32_t v) {
      const Touch how = touch(kinds_[i], kinds_[j], kinds_[u], kinds_[v]);
      if (how != Touch::none) meet(i, j, how == Touch::region);
    });
  }

  // Pixel j beside i of another kind: one more neighbour of i's region, or one it has already. What
  // is foreground is one neighbour where it is connected in the mask that i is not in.
  void see(int32_t i, int32_t j) {
    if (!is_wrong(kinds_[i]) || kinds_[i] == kinds_[j]) return;
    const int32_t own = regions_.root(i);
    const bool is_foreground = kinds_[j] != kBackground;
    const int32_t other =
        is_foreground ? masks_[kinds_[i] == kFalsePositive ? 1 : 0].root(j) : regions_.root(j);
    int32_t& known = neighbour_[2 * own + is_foreground];
    if (known >= 0 && known != other) several_[own] = 1;
    known = other;
  }

  const int64_t height_, width_;
  const uint8_t* kinds_ = nullptr;
  Components regions_, masks_[2];  // of one kind; of the predicted and the true foreground
  Scratch<int32_t> neighbour_;     // of each region: one of background, one of foreground
  Scratch<uint8_t> several_;       // it has more than one of either
};

}  // namespace surprisal::topograph
