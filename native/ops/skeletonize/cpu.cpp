#include <algorithm>

#include "core/labels.h"
#include "core/parallel.h"
#include "core/scratch.h"
#include "ops/skeletonize/op.h"
#include "core/simple_points.h"

namespace surprisal::skeletonize {
namespace {

// A mask with a voxel of background all round; of an image, without planes before and behind.
class Thinning {
 public:
  explicit Thinning(const Forward& op)
      : op_(op),
        margin_(op.volume ? 1 : 0),
        row_(op.columns + 2),
        plane_((op.rows + 2) * row_),
        size_((op.planes + 2 * margin_) * plane_),
        mask_(size_),
        spare_(size_),
        object_(op.planes * op.rows * op.columns),
        candidates_(op.planes * op.rows * op.columns) {}

  // Takes the voxels i of a line with inside(i) as the object; false where there are none.
  template <class F>
  bool start(F inside) {
    std::fill_n(mask_.data(), size_, uint8_t{0});
    count_ = 0;
    each_voxel([&](int64_t i, int64_t at) {
      if (!inside(i)) return;
      mask_[at] = 1;
      object_[count_++] = at;
    });
    return count_ > 0;
  }

  void thin() {
    const int64_t directions[] = {-row_, row_, 1, -1, plane_, -plane_};
    const int kinds = op_.volume ? 6 : 4;
    for (int unchanged = 0, k = 0; unchanged < kinds; k = (k + 1) % kinds)
      unchanged = peel(directions[k]) ? 0 : unchanged + 1;
  }

  void dilate() {
    std::copy_n(mask_.data(), size_, spare_.data());
    each_voxel([&](int64_t, int64_t at) {
      uint8_t any =
          spare_[at] | spare_[at - 1] | spare_[at + 1] | spare_[at - row_] | spare_[at + row_];
      if (op_.volume) any |= spare_[at - plane_] | spare_[at + plane_];
      mask_[at] = any;
    });
  }

  // Calls body(i) for the voxels of what is left.
  template <class F>
  void each_left(F body) const {
    each_voxel([&](int64_t i, int64_t at) {
      if (mask_[at]) body(i);
    });
  }

 private:
  template <class F>
  void each_voxel(F body) const {
    for (int64_t z = 0, i = 0; z < op_.planes; ++z)
      for (int64_t y = 0; y < op_.rows; ++y) {
        const int64_t line = (z + margin_) * plane_ + (y + 1) * row_ + 1;
        for (int64_t x = 0; x < op_.columns; ++x) body(i++, line + x);
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
    int64_t found = 0;
    for (int64_t k = 0; k < count_; ++k) {
      const int64_t at = object_[k];
      if (mask_[at + direction]) continue;
      const uint32_t object = about(at);
      if (!Neighbourhoods::ends_line(object) && simple(object)) candidates_[found++] = at;
    }
    bool changed = false;
    for (int64_t k = 0; k < found; ++k) {
      if (!simple(about(candidates_[k]))) continue;
      mask_[candidates_[k]] = 0;
      changed = true;
    }
    if (!changed) return false;
    const auto gone = [&](int64_t at) { return !mask_[at]; };
    count_ = std::remove_if(object_.data(), object_.data() + count_, gone) - object_.data();
    return true;
  }

  const Forward& op_;
  const Neighbourhoods& neighbourhoods_ = Neighbourhoods::table();
  const int64_t margin_, row_, plane_, size_;
  const Scratch<uint8_t> mask_, spare_;
  const Scratch<int64_t> object_, candidates_;
  int64_t count_ = 0;
};

double number_of(double x) { return x; }
double number_of(float x) { return x; }
double number_of(int32_t x) { return x; }
double number_of(int64_t x) { return static_cast<double>(x); }
double number_of(uint8_t x) { return x; }
double number_of(int8_t x) { return x; }
double number_of(Float16 x) { return to_float(x); }
double number_of(BFloat16 x) { return to_float(x); }

template <class T>
void skeleton_of(const Forward& op, Thinning& thinning, const T* mask, T* result) {
  const int64_t voxels = op.planes * op.rows * op.columns;
  const auto take = [&](auto inside) {
    if (!thinning.start(inside)) return;
    thinning.thin();
    for (int64_t k = 0; k < op.radius; ++k) thinning.dilate();
    thinning.each_left([&](int64_t i) {
      if (inside(i)) result[i] = mask[i];
    });
  };
  std::fill_n(result, voxels, T{});
  const double ignored = static_cast<double>(op.ignored);
  const auto counts = [&](double x) { return x > 0 && x != ignored; };
  if (!op.per_value) return take([&](int64_t i) { return counts(number_of(mask[i])); });
  // The smallest value above the last, until there is none.
  for (double last = 0;;) {
    double next = 0;
    for (int64_t i = 0; i < voxels; ++i) {
      const double x = number_of(mask[i]);
      if (counts(x) && x > last && (next == 0 || x < next)) next = x;
    }
    if (next == 0) return;
    take([&](int64_t i) { return number_of(mask[i]) == next; });
    last = next;
  }
}

}  // namespace

void forward(const Forward& op) {
  const int64_t voxels = op.planes * op.rows * op.columns;
  require(op.mask.size == op.images * voxels, "skeletonize: size of the mask");
  require(op.result.size == op.mask.size && op.result.dtype == op.mask.dtype,
          "skeletonize: result");
  if (op.classes > 0) expect_labels("skeletonRecallLoss", op.mask, op.classes, op.ignored, true);
  if (op.mask.size == 0) return;
  visit_any(op.mask.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_for(op.images, 1, [&](int64_t begin, int64_t end) {
      Thinning thinning(op);
      for (int64_t k = begin; k < end; ++k)
        skeleton_of(op, thinning, op.mask.as<T>() + k * voxels, op.result.as<T>() + k * voxels);
    });
  });
}

}  // namespace surprisal::skeletonize
