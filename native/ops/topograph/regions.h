// The regions of a predicted and a true mask with their neighbours, by runs: pixels of one kind
// that follow one another in a row.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/scratch.h"

namespace surprisal::topograph {

// What a pixel is: bit 0, predicted foreground; bit 1, truly so.
constexpr uint8_t kBackground = 0, kFalsePositive = 1, kFalseNegative = 2, kForeground = 3;
inline bool is_wrong(uint8_t kind) { return kind == kFalsePositive || kind == kFalseNegative; }

// A plane of kinds as runs, numbered row by row.
class Runs {
 public:
  Runs(int64_t height, int64_t width)
      : height_(height), width_(width), begin_(height * width + 1), rows_(height + 1) {}

  void find(const uint8_t* kinds) {
    kinds_ = kinds;
    int32_t count = 0;
    for (int64_t y = 0; y < height_; ++y) {
      rows_[y] = count;
      const int32_t first = static_cast<int32_t>(y * width_);
      for (int32_t i = first; i < first + width_; ++i)
        if (i == first || kinds[i] != kinds[i - 1]) begin_[count++] = i;
    }
    rows_[height_] = count;
    begin_[count] = static_cast<int32_t>(height_ * width_);
  }

  int64_t size() const { return rows_[height_]; }
  uint8_t kind(int32_t run) const { return kinds_[begin_[run]]; }
  int32_t begin(int32_t run) const { return begin_[run]; }
  int32_t end(int32_t run) const { return begin_[run + 1]; }

  // Calls side(i, j) for all runs that share a side, corner(i, j, u, v) for those that share but a
  // corner, at which the other two are u and v.
  template <class S, class C>
  void each_touch(S&& side, C&& corner) const {
    const int32_t width = static_cast<int32_t>(width_);
    for (int64_t y = 0; y < height_; ++y) {
      for (int32_t run = rows_[y]; run + 1 < rows_[y + 1]; ++run) side(run, run + 1);
      if (y + 1 == height_) return;
      int32_t above = rows_[y], below = rows_[y + 1];
      const int32_t last = rows_[y + 1];
      while (above < last) {
        side(above, below);
        const int32_t ours = end(above), theirs = end(below) - width;
        if (ours == theirs && above + 1 < last) {
          corner(above, below + 1, above + 1, below);
          corner(above + 1, below, above, below + 1);
        }
        above += ours <= theirs;
        below += theirs <= ours;
      }
    }
  }

 private:
  const int64_t height_, width_;
  const uint8_t* kinds_ = nullptr;
  Scratch<int32_t> begin_;  // of runs, and where the last one ends
  Scratch<int32_t> rows_;   // their first runs
};

// A union-find; the root of a set is its first member.
class Components {
 public:
  explicit Components(int64_t most) : parent_(most) {}

  void clear(int64_t size) {
    for (int64_t i = 0; i < size; ++i) parent_[i] = static_cast<int32_t>(i);
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
  Scratch<int32_t> parent_;
};

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
      : runs_(height, width),
        regions_(height * width),
        masks_{Components(height * width), Components(height * width)},
        neighbour_(2 * height * width),
        several_(height * width) {}

  void find(const uint8_t* kinds) {
    runs_.find(kinds);
    join();
    std::fill_n(neighbour_.data(), 2 * runs_.size(), -1);
    std::fill_n(several_.data(), runs_.size(), uint8_t{0});
    const auto both = [&](int32_t i, int32_t j) {
      see(i, j);
      see(j, i);
    };
    runs_.each_touch(both, [&](int32_t i, int32_t j, int32_t u, int32_t v) {
      if (touches(i, j, u, v) == Touch::region) both(i, j);
    });
  }

  const Runs& runs() const { return runs_; }
  // The region of a run, named by its first one.
  int32_t region(int32_t run) { return regions_.root(run); }
  bool is_critical(int32_t region) const {
    return is_wrong(runs_.kind(region)) &&
           (several_[region] || neighbour_[2 * region] < 0 || neighbour_[2 * region + 1] < 0);
  }

 private:
  Touch touches(int32_t i, int32_t j, int32_t u, int32_t v) const {
    return touch(runs_.kind(i), runs_.kind(j), runs_.kind(u), runs_.kind(v));
  }

  void join() {
    regions_.clear(runs_.size());
    for (Components& mask : masks_) mask.clear(runs_.size());
    const auto meet = [&](int32_t i, int32_t j, bool as_region) {
      const uint8_t a = runs_.kind(i), b = runs_.kind(j);
      if (as_region && a == b) regions_.join(i, j);
      for (int k = 0; k < 2; ++k)
        if (a & b & (1 << k)) masks_[k].join(i, j);
    };
    runs_.each_touch([&](int32_t i, int32_t j) { meet(i, j, true); },
                     [&](int32_t i, int32_t j, int32_t u, int32_t v) {
                       const Touch how = touches(i, j, u, v);
                       if (how != Touch::none) meet(i, j, how == Touch::region);
                     });
  }

  // Run j beside i of another kind: one more neighbour of i's region, or one it has already. What
  // is foreground is one neighbour where it is connected in the mask that i is not in.
  void see(int32_t i, int32_t j) {
    const uint8_t kind = runs_.kind(i), other_kind = runs_.kind(j);
    if (!is_wrong(kind) || kind == other_kind) return;
    const int32_t own = regions_.root(i);
    const bool is_foreground = other_kind != kBackground;
    const int32_t other =
        is_foreground ? masks_[kind == kFalsePositive ? 1 : 0].root(j) : regions_.root(j);
    int32_t& known = neighbour_[2 * own + is_foreground];
    if (known >= 0 && known != other) several_[own] = 1;
    known = other;
  }

  Runs runs_;
  Components regions_, masks_[2];  // of one kind; of the predicted and the true foreground
  Scratch<int32_t> neighbour_;     // of each region: one of background, one of foreground
  Scratch<uint8_t> several_;       // it has more than one of either
};

}  // namespace surprisal::topograph
