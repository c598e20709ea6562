#include <algorithm>
#include <unordered_map>
#include <vector>

#include "core/class_images.h"
#include "core/labels.h"
#include "core/parallel_large.h"
#include "core/scratch.h"
#include "core/simple_points.h"
#include "ops/skeletonize/op.h"

namespace surprisal::skeletonize {
namespace {

// What is thinned by itself: all that counts, or the voxels of one value.
struct Object {
  int64_t first = 0, count = 0;  // of its voxels in the list of all
  int64_t low[3], high[3];       // the box about it: planes, rows, columns

  void add(int64_t z, int64_t y, int64_t x) {
    const int64_t at[] = {z, y, x};
    for (int i = 0; i < 3; ++i) {
      low[i] = count == 0 ? at[i] : std::min(low[i], at[i]);
      high[i] = count == 0 ? at[i] : std::max(high[i], at[i]);
    }
    ++count;
  }
  int64_t extent(int axis) const { return high[axis] - low[axis] + 1; }
};

// The objects of a mask, and their voxels, of each in order. I: places in an image.
template <class I>
class Objects {
 public:
  template <class T>
  Objects(const Forward& op, const T* mask) {
    each_voxel(op, mask, [&](int64_t, int64_t z, int64_t y, int64_t x, Object& object) {
      object.add(z, y, x);
    });
    int64_t total = 0;
    for (Object& object : objects_) {
      object.first = total;
      total += object.count;
      object.count = 0;
    }
    voxels_.resize(total);
    each_voxel(op, mask, [&](int64_t i, int64_t, int64_t, int64_t, Object& object) {
      voxels_[object.first + object.count++] = static_cast<I>(i);
    });
  }

  int64_t size() const { return static_cast<int64_t>(objects_.size()); }
  int64_t voxels() const { return static_cast<int64_t>(voxels_.size()); }
  const Object& operator[](int64_t k) const { return objects_[k]; }
  const I* voxels_of(const Object& object) const { return voxels_.data() + object.first; }

 private:
  template <class T, class F>
  void each_voxel(const Forward& op, const T* mask, F body) {
    const double ignored = static_cast<double>(op.ignored);
    double last = 0;  // no value that counts
    int64_t own = 0;
    for (int64_t z = 0, i = 0; z < op.planes; ++z)
      for (int64_t y = 0; y < op.rows; ++y)
        for (int64_t x = 0; x < op.columns; ++x, ++i) {
          const double value = number(mask[i]);
          if (!(value > 0) || value == ignored) continue;
          if (value != last) own = object_of(op.per_value ? value : 1);
          last = value;
          body(i, z, y, x, objects_[own]);
        }
  }
  int64_t object_of(double value) {
    const auto [found, is_new] = known_.try_emplace(value, size());
    if (is_new) objects_.emplace_back();
    return found->second;
  }

  std::vector<Object> objects_;
  std::unordered_map<double, int64_t> known_;
  std::vector<I> voxels_;
};

// An object in its box with a voxel of background all round; of an image, without planes before and
// behind.
template <class I>
class Thinning {
 public:
  Thinning(const Forward& op, const Object& object, const I* voxels)
      : op_(op),
        object_(object),
        voxels_(voxels),
        margin_(op.volume ? 1 : 0),
        row_(object.extent(2) + 2),
        plane_((object.extent(1) + 2) * row_),
        size_((object.extent(0) + 2 * margin_) * plane_),
        mask_(size_),
        spare_(size_),
        places_(object.count),
        border_(object.count),
        candidates_(object.count),
        fresh_(object.count) {
    start();
  }

  void thin() {
    for (int unchanged = 0, k = 0; unchanged < kinds(); k = (k + 1) % kinds())
      unchanged = peel(directions_[k]) ? 0 : unchanged + 1;
  }

  void dilate() {
    std::copy_n(mask_.data(), size_, spare_.data());
    for (int64_t z = 0; z < object_.extent(0); ++z)
      for (int64_t y = 0; y < object_.extent(1); ++y) {
        const int64_t line = (z + margin_) * plane_ + (y + 1) * row_ + 1;
        for (int64_t at = line; at < line + object_.extent(2); ++at) {
          uint8_t any = spare_[at];
          for (int k = 0; k < kinds(); ++k) any |= spare_[at + directions_[k]];
          mask_[at] = any;
        }
      }
  }

  // Calls body(i) for the object's voxels in what is left.
  template <class F>
  void each_left(F body) const {
    for (int64_t k = 0; k < object_.count; ++k)
      if (mask_[places_[k]]) body(voxels_[k]);
  }

 private:
  int kinds() const { return op_.volume ? 6 : 4; }

  void start() {
    std::fill_n(mask_.data(), size_, uint8_t{0});
    std::fill_n(spare_.data(), size_, uint8_t{0});
    int64_t end = 0, shift = 0;  // of the row that holds the voxel
    for (int64_t k = 0; k < object_.count; ++k) {
      const int64_t i = voxels_[k];
      if (i >= end) {
        const int64_t line = i / op_.columns;
        const int64_t y = line % op_.rows - object_.low[1], z = line / op_.rows - object_.low[0];
        end = (line + 1) * op_.columns;
        shift = (z + margin_) * plane_ + (y + 1) * row_ + 1 - object_.low[2] - line * op_.columns;
      }
      places_[k] = static_cast<I>(i + shift);
      mask_[i + shift] = 1;
    }
    for (int64_t k = 0; k < object_.count; ++k) {
      const int64_t at = places_[k];
      bool is_border = false;
      for (int d = 0; d < kinds(); ++d) is_border |= mask_[at + directions_[d]] == 0;
      if (!is_border) continue;
      spare_[at] = 1;
      border_[borders_++] = places_[k];
    }
  }

  uint32_t about(int64_t at) const {
    uint32_t found = 0;
    for (int64_t z = -margin_; z <= margin_; ++z)
      for (int64_t y = -1; y <= 1; ++y) {
        const uint8_t* const three = mask_.data() + at + z * plane_ + y * row_ - 1;
        const uint32_t bits = three[0] | three[1] << 1 | three[2] << 2;
        found |= bits << ((z + 1) * 9 + (y + 1) * 3);
      }
    return found;
  }
  bool simple(uint32_t object) const {
    return op_.volume ? neighbourhoods_.simple(object) : neighbourhoods_.simple_in_plane(object);
  }

  // One direction's border; whether anything went.
  bool peel(int64_t direction) {
    int64_t found = 0, bare = 0;
    for (int64_t k = 0; k < borders_; ++k) {
      const int64_t at = border_[k];
      if (mask_[at + direction]) continue;
      const uint32_t object = about(at);
      if (!Neighbourhoods::ends_line(object) && simple(object))
        candidates_[found++] = static_cast<I>(at);
    }
    bool changed = false;
    for (int64_t k = 0; k < found; ++k) {
      const int64_t at = candidates_[k];
      if (!simple(about(at))) continue;
      mask_[at] = 0;
      changed = true;
      for (int d = 0; d < kinds(); ++d) {
        const int64_t next = at + directions_[d];
        if (!mask_[next] || spare_[next]) continue;
        spare_[next] = 1;
        fresh_[bare++] = static_cast<I>(next);
      }
    }
    if (changed) renew(bare);
    return changed;
  }
  // Takes from the border what went, and puts what it bared where it belongs.
  void renew(int64_t bare) {
    const auto gone = [&](I at) { return !mask_[at]; };
    int64_t left = std::remove_if(border_.data(), border_.data() + borders_, gone) - border_.data();
    std::sort(fresh_.data(), fresh_.data() + bare);
    borders_ = left + bare;
    for (int64_t to = borders_; bare > 0;)
      border_[--to] =
          left > 0 && border_[left - 1] > fresh_[bare - 1] ? border_[--left] : fresh_[--bare];
  }

  const Forward& op_;
  const Object& object_;
  const I* const voxels_;
  const Neighbourhoods& neighbourhoods_ = Neighbourhoods::table();
  const int64_t margin_, row_, plane_, size_;
  const int64_t directions_[6] = {-row_, row_, 1, -1, plane_, -plane_};
  const Scratch<uint8_t> mask_, spare_;  // while it is thinned: what has been in the border
  const Scratch<I> places_;
  const Scratch<I> border_;  // with a face bare, in order
  const Scratch<I> candidates_, fresh_;
  int64_t borders_ = 0;
};

template <class I, class T>
void skeleton_of(const Forward& op, const T* mask, T* result) {
  std::fill_n(result, op.planes * op.rows * op.columns, T{});
  const Objects<I> objects(op, mask);
  const int64_t grain = 4096 * objects.size() / (objects.voxels() + 1) + 1;
  parallel_for(objects.size(), grain, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      Thinning<I> thinning(op, objects[k], objects.voxels_of(objects[k]));
      thinning.thin();
      for (int64_t step = 0; step < op.radius; ++step) thinning.dilate();
      thinning.each_left([&](int64_t i) { result[i] = mask[i]; });
    }
  });
}

}  // namespace

void forward(const Forward& op) {
  const int64_t voxels = op.planes * op.rows * op.columns;
  require(op.mask.size == op.images * voxels, "skeletonize: size of the mask");
  require(op.result.size == op.mask.size && op.result.dtype == op.mask.dtype,
          "skeletonize: result");
  if (op.classes > 0) expect_labels("skeletonRecallLoss", op.mask, op.classes, op.ignored, true);
  if (op.mask.size == 0) return;
  const bool is_narrow = (op.planes + 2) * (op.rows + 2) * (op.columns + 2) <= INT32_MAX;
  visit_any(op.mask.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_for_large(op.images, 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const T* const mask = op.mask.as<T>() + k * voxels;
        T* const result = op.result.as<T>() + k * voxels;
        is_narrow ? skeleton_of<int32_t>(op, mask, result) : skeleton_of<int64_t>(op, mask, result);
        for (int64_t i = 0; op.classes > 0 && i < voxels; ++i)
          if (number(mask[i]) == static_cast<double>(op.ignored)) result[i] = mask[i];
      }
    });
  });
}

}  // namespace surprisal::skeletonize
