// What the crop kernel of cuda.cu takes and where its arrays lie: pure functions, tested without a
// GPU. A crop has at most two axes longer than 1; positions are those of grid.h, border included.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/portable.h"

namespace surprisal::betti_matching {

// 64 x 64 with a voxel of padding all round.
constexpr int64_t kMostPositions = 68 * 68;
constexpr int kCropThreads = 256;
// Of each block, kept by the system.
constexpr int64_t kSystemShared = 1024;

struct Crop {
  int32_t rank = 0;            // axes longer than 1, padding included
  int32_t n[2] = {1, 1};       // voxels, padding included
  int32_t inner[2] = {1, 1};   // voxels of the user's image
  int32_t border[2] = {0, 0};  // voxels of padding on each side
  SP_HOST_DEVICE int32_t step() const { return n[1] + 2; }
  SP_HOST_DEVICE int32_t positions() const { return (n[0] + 2) * step(); }
  SP_HOST_DEVICE int32_t voxels() const { return inner[0] * inner[1]; }
};

// False for three axes and for what is too large.
inline bool crop_of(const int64_t* spatial, int axes, bool padded, Crop& out) {
  int64_t n[2] = {1, 1}, inner[2] = {1, 1};
  int rank = 0;
  for (int axis = 0; axis < axes; ++axis) {
    const int64_t size = spatial[axis] + (padded ? 2 : 0);
    if (size == 1) continue;
    if (rank == 2) return false;
    n[rank] = size;
    inner[rank++] = spatial[axis];
  }
  if (rank == 1) {
    std::swap(n[0], n[1]);
    std::swap(inner[0], inner[1]);
  }
  if (n[0] > kMostPositions || n[1] > kMostPositions) return false;
  if ((n[0] + 2) * (n[1] + 2) > kMostPositions) return false;
  out.rank = rank;
  for (int i = 0; i < 2; ++i) {
    out.n[i] = static_cast<int32_t>(n[i]);
    out.inner[i] = static_cast<int32_t>(inner[i]);
    out.border[i] = padded && (i == 1 || rank == 2) ? 1 : 0;
  }
  return true;
}

// Offsets into shared memory, in bytes.
struct Layout {
  int32_t capacity = 0;  // entries of one of the three lists
  int32_t parent = 0, attribute = 0, slot = 0, tree = 0;
  int32_t lists = -1;  // -1: in scratch memory
  int32_t bytes = 0;
};

// Of two voxels one above the other at most one is critical, of two such squares as well: the first
// edge of the lower vertex, or the last face of the upper square, leads to the other.
SP_HOST_DEVICE inline int32_t most_critical(int32_t rows, int32_t columns) {
  return (rows + 1) / 2 * columns;
}

// `head` bytes come first, then the keys.
inline Layout layout_of(const Crop& crop, int32_t head, bool lists) {
  const auto rounded = [](int32_t bytes) { return (bytes + 15) / 16 * 16; };
  const int32_t positions = crop.positions(), n = crop.n[0] * crop.n[1];
  const int32_t squares = (crop.n[0] - 1) * (crop.n[1] - 1);
  const int32_t vertices = most_critical(crop.n[0], crop.n[1]);
  const int32_t tops = most_critical(crop.n[0] - 1, crop.n[1] - 1);
  Layout out;
  // The dual pass: critical edges and hanging squares. The primal one, with the pairs of the first
  // at the end: edges of the tree and hanging vertices, before them the followed parents.
  out.capacity = std::max({vertices + squares, n + tops, (positions + 1) / 2 + tops}) + 1;
  out.parent = rounded(rounded(head) + 3 * 2 * positions);
  out.attribute = rounded(out.parent + 3 * 2 * positions);
  out.slot = rounded(out.attribute + 2 * 2 * positions);
  out.tree = rounded(out.slot + 2 * 2 * positions);
  out.bytes = rounded(out.tree + 3 * 2 * vertices);
  if (lists) {
    out.lists = out.bytes;
    out.bytes += rounded(3 * 4 * out.capacity);
  }
  // All values of both images and the padding's are sorted where the parents and what follows lie.
  out.bytes = std::max(out.bytes, out.parent + 8 * (2 * crop.voxels() + 1));
  return out;
}

struct CropPlan {
  bool fits = false;
  Layout layout;
  int64_t blocks = 0;
  int threads = kCropThreads;
};

struct Room {
  int64_t shared = 0, shared_per_sm = 0;  // bytes
  int processors = 0;
};

// Lists stay in shared memory where that leaves room for two blocks on a processor, or where there
// are no more images than processors. In scratch memory they are read from L1 in order, at the same
// latency, and other blocks hide the slower sort.
inline CropPlan plan_crops(const Crop& crop, int64_t images, int32_t head, const Room& room) {
  CropPlan plan;
  const Layout near = layout_of(crop, head, true), far = layout_of(crop, head, false);
  const int64_t both = 2 * (near.bytes + kSystemShared);
  const bool near_fits = near.bytes <= room.shared;
  plan.layout = near_fits && (both <= room.shared_per_sm || images <= room.processors) ? near : far;
  if (plan.layout.bytes > room.shared) return plan;
  plan.fits = true;
  // Whatever is resident; each block takes its images in turn.
  const int64_t resident =
      std::max<int64_t>(1, room.shared_per_sm / (plan.layout.bytes + kSystemShared));
  plan.blocks = std::min(images, room.processors * std::min<int64_t>(resident, 8));
  return plan;
}

}  // namespace surprisal::betti_matching
