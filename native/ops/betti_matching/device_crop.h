// A pair of crops in a block's shared memory, as ranks: of every voxel how many values of both
// images come before its own, 16 bits for every dtype, with the border of grid.h around them. Cells
// are numbered in grid.h's order: edge 2 position + axis, square position.
#pragma once
#include <cstring>
#include <limits>

#include "cuda/launch.h"
#include "cuda/numbers.h"
#include "ops/betti_matching/op.h"
#include "ops/betti_matching/plan.h"
#include "ops/betti_matching/terms.h"

namespace surprisal::betti_matching {

using namespace cuda;

constexpr int kBeyond = 0xffff;  // the rank of what is outside
constexpr int kNone = 0xffff;    // no pair

// What is asked of every image; see op.h.
struct CropTask {
  Crop crop;
  Layout layout;
  Numbers input[2];
  int64_t images = 0;
  Costs costs;
  bool wants[2] = {true, true};
  bool filtration[2] = {false, true};  // sublevel, superlevel: one or both
  bool intersection = false, positive_bars = false, essential = false;
  int32_t padding = 0;
  double pad = 0, min_length = 0;
  uint32_t* lists = nullptr;  // (blocks, 3, capacity) in scratch memory, if not shared
  FaultSite fault{};
  int64_t classes = 1, sizes = 0;  // for the fault's message
  // Results, each may be absent.
  double* sums = nullptr;  // (images)
  NumbersOut each, grad;   // (images), (images, voxels)
  int32_t* counts = nullptr;
  int32_t* pairs = nullptr;
  int64_t capacity = 0, axes = 2;  // of `pairs` and `counts`
};

struct Head {
  uint64_t least[2];  // of each image, as sorted
  uint64_t nan;       // the place of the first one, as reported; all bits where there is none
  uint32_t count[3];  // entries of the lists
  uint32_t tree[3];   // edges that the dual pass left
  uint32_t pairs[2][3];
  uint32_t oldest[2];
};

// In the order of a sublevel filtration of x, or of -x; -0 equals +0. As keys.h has it.
__device__ inline uint64_t sortable(double x, bool superlevel) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if (superlevel) bits ^= uint64_t{1} << 63;
  if (bits == uint64_t{1} << 63) bits = 0;
  return bits >> 63 ? ~bits : bits | uint64_t{1} << 63;
}
__device__ inline double value_of(uint64_t key, bool superlevel) {
  uint64_t bits = key >> 63 ? key ^ uint64_t { 1 } << 63 : ~key;
  if (superlevel) bits ^= uint64_t{1} << 63;
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// The block's view of its crop.
struct Block {
  const CropTask& task;
  unsigned char* memory;
  uint32_t* lists;  // of this block
  bool superlevel;
  int32_t infinite = kBeyond;  // the rank of +inf: a cell of that value ends nothing
  int64_t item = 0;

  __device__ const Crop& crop() const { return task.crop; }
  __device__ int up() const { return task.crop.step(); }
  __device__ int positions() const { return task.crop.positions(); }
  __device__ Head& head() const { return *reinterpret_cast<Head*>(memory); }
  template <class T>
  __device__ T* at(int32_t offset) const {
    return reinterpret_cast<T*>(memory + offset);
  }
  __device__ uint16_t* key(int i) const {
    return at<uint16_t>((sizeof(Head) + 15) / 16 * 16) + i * positions();
  }
  __device__ uint16_t* parent(int i) const {
    return at<uint16_t>(task.layout.parent) + i * positions();
  }
  __device__ uint16_t* attribute(int a) const {
    return at<uint16_t>(task.layout.attribute) + a * positions();
  }
  __device__ uint16_t* slot(int a) const {
    return at<uint16_t>(task.layout.slot) + a * positions();
  }
  // Before slots are needed: of each position how its vertex and its square hang.
  __device__ uint8_t* code(int i) const { return at<uint8_t>(task.layout.slot) + i * positions(); }
  __device__ uint16_t* tree(int i) const {
    return at<uint16_t>(task.layout.tree) + i * most_critical(task.crop.n[0], task.crop.n[1]);
  }
  __device__ uint32_t* list(int i) const { return lists + i * task.layout.capacity; }

  // Whether the components of an input carry extrema of the comparison image in this pass, or those
  // of the comparison image extrema of both inputs.
  __device__ bool inputs_carry(bool dual) const { return dual != task.intersection; }
  __device__ int carried(int i, bool dual) const {
    return inputs_carry(dual) ? (i < 2 ? 1 : 0) : (i < 2 ? 0 : 2);
  }
  // The image whose extremum attribute a of image i is, and its place.
  __device__ int carried_from(int i, int a) const { return i < 2 ? 2 : a; }
  __device__ int carried_at(int i, int a) const { return i < 2 ? i : a; }
};

__device__ inline int count_bits(uint32_t x) {
#if defined(__CUDA_ARCH__)
  return __popc(x);
#else
  return __builtin_popcount(x);
#endif
}

// --- values of cells -----------------------------------------------------------------------------

__device__ inline int larger(int a, int b) { return a > b ? a : b; }

__device__ inline int edge_value(const uint16_t* key, int edge, int up) {
  const int v = edge >> 1;
  return larger(load(key + v), load(key + v + (edge & 1 ? 1 : up)));
}
__device__ inline int square_value(const uint16_t* key, int v, int up) {
  return larger(larger(load(key + v), load(key + v + 1)),
                larger(load(key + v + up), load(key + v + up + 1)));
}

// The age of a node as one integer: of two nodes of the primal graph the smaller is the older, of
// the dual graph the larger.
template <bool kDual>
__device__ inline uint32_t age(const uint16_t* key, int node, int up) {
  const int value = kDual ? square_value(key, node, up) : load(key + node);
  return static_cast<uint32_t>(value) << 13 | static_cast<uint32_t>(node);
}
template <bool kDual>
__device__ inline bool older(uint32_t a, uint32_t b) {
  return kDual ? a > b : a < b;
}

// --- sorting -------------------------------------------------------------------------------------

// Sorts `count` lists, `stride` apart, of size_of_list(l) entries, by a bitonic network whose
// comparisons all ascend: what is beyond the end of a list counts as the last of all and stays
// there.
template <class K, class Size>
__device__ inline void sort_lists(K* lists, int stride, int count, Size size_of_list) {
  int most = 0;
  for (int l = 0; l < count; ++l) most = larger(most, size_of_list(l));
  for (int size = 2; size < 2 * most; size *= 2) {
    for (int half = size / 2; half > 0; half /= 2) {
      const int flip = half == size / 2 ? size - 1 : half;
      for (int l = 0; l < count; ++l) {
        K* list = lists + l * stride;
        const int n = size_of_list(l);
        for (int t = thread_index();; t += block_size()) {
          const int low = 2 * t - (t & (half - 1)), high = low ^ flip;
          if (low >= n) break;
          if (high >= n) continue;
          const K a = load(list + low), b = load(list + high);
          if (!(b < a)) continue;
          store(list + low, b);
          store(list + high, a);
        }
      }
      sync_threads();  // the next step compares what other threads have put in place
    }
  }
}

// How many of the n sorted entries come before `key`.
__device__ inline int rank_of(const uint64_t* sorted, int n, uint64_t key) {
  int low = 0;
  while (n > 0) {
    const int half = n / 2;
    if (load(sorted + low + half) < key) {
      low += half + 1;
      n -= half + 1;
    } else {
      n = half;
    }
  }
  return low;
}

// --- ranks ---------------------------------------------------------------------------------------

// The place of voxel (x, y) of the padded grid in the user's image, -1 in the padding.
__device__ inline int voxel_at(const Crop& crop, int x, int y) {
  x -= crop.border[0];
  y -= crop.border[1];
  if (x < 0 || y < 0 || x >= crop.inner[0] || y >= crop.inner[1]) return -1;
  return x * crop.inner[1] + y;
}
__device__ inline int voxel_at(const Crop& crop, int position) {
  return voxel_at(crop, position / crop.step() - 1, position % crop.step() - 1);
}

// All values of both images and the padding's, sorted; gives how many. The first NaN is reported by
// its place among the predictions and, behind them, the targets.
__device__ inline int sort_values(const Block& b) {
  const CropTask& task = b.task;
  const int voxels = task.crop.voxels();
  uint64_t* sorted = b.at<uint64_t>(task.layout.parent);
  const int64_t all = task.images * voxels;
  const uint64_t none = ~uint64_t{0};
  Head& head = b.head();
  if (thread_index() < 2) store(&head.least[thread_index()], none);
  if (thread_index() == 2) store(&head.nan, none);
  sync_threads();  // these are set; the image before is done with the memory
  uint64_t nan = none;
  for (int i = 0; i < 2; ++i) {
    uint64_t least = none;
    for (int v = thread_index(); v < voxels; v += block_size()) {
      const int64_t element = b.item * voxels + v;
      const double x = task.input[i][element];
      if (x != x && nan == none) nan = static_cast<uint64_t>(i * all + element);
      const uint64_t key = sortable(x, b.superlevel);
      store(sorted + i * voxels + v, key);
      if (key < least) least = key;
    }
    if (task.padding == 2 && least != none) atomic_min(&head.least[i], least);
  }
  if (nan != none) atomic_min(&head.nan, nan);
  const bool has_number = task.padding == 1;
  if (has_number && thread_index() == 0)
    store(sorted + 2 * voxels, sortable(task.pad, b.superlevel));
  sync_threads();  // all values are there, the least and the first NaN
  // The record's lock is the device's: one thread a block waits for it.
  if (thread_index() == 0 && load(&head.nan) != none)
    report_fault(task.fault, static_cast<int64_t>(load(&head.nan)), all, task.classes, task.sizes);
  const int n = 2 * voxels + has_number;
  sort_lists(sorted, 0, 1, [&](int) { return n; });
  return n;
}

// Fills the three images with ranks; the comparison image takes the lesser, or the greater, of two.
__device__ inline void rank_values(Block& b) {
  const CropTask& task = b.task;
  const Crop& crop = task.crop;
  const int n = sort_values(b), voxels = crop.voxels(), up = b.up();
  const uint64_t* sorted = b.at<uint64_t>(task.layout.parent);
  const double never = std::numeric_limits<double>::infinity();
  b.infinite = rank_of(sorted, n, sortable(never, false));
  int padding[2] = {kBeyond, kBeyond};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (task.padding == 0) break;
    const uint64_t least = load(&b.head().least[i]);
    padding[i] = rank_of(sorted, n, task.padding == 2 ? least : sortable(task.pad, b.superlevel));
  }
  for (int p = thread_index(); p < b.positions(); p += block_size()) {
    const int x = p / up - 1, y = p % up - 1;
    const bool inside = x >= 0 && y >= 0 && x < crop.n[0] && y < crop.n[1];
    const int voxel = voxel_at(crop, x, y);
    int rank[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      rank[i] = inside ? padding[i] : kBeyond;
      if (voxel < 0) continue;
      const double value = task.input[i][b.item * voxels + voxel];
      rank[i] = rank_of(sorted, n, sortable(value, b.superlevel));
    }
    const bool first = (rank[0] < rank[1]) != task.intersection;
#pragma unroll
    for (int i = 0; i < 2; ++i) store(b.key(i) + p, static_cast<uint16_t>(rank[i]));
    store(b.key(2) + p, static_cast<uint16_t>(first ? rank[0] : rank[1]));
  }
  sync_threads();  // neighbours read the ranks; the sorted values are not needed any more
}

}  // namespace surprisal::betti_matching
