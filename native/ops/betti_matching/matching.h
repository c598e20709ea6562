// The matching of one pair of images, or the barcode of one: op.h says what is computed. Work comes
// in tasks that may run at once: first each image's, then (3-D, degree 1) each reduction, then the
// end. Tasks of a stage share nothing that one of them writes.
#pragma once
#include "ops/betti_matching/columns.h"
#include "ops/betti_matching/cycles.h"
#include "ops/betti_matching/keys.h"

namespace surprisal::betti_matching {

enum class Padding : int32_t { none, number, minmax };

// What is asked of every item.
struct Task {
  int axes = 2;                  // spatial axes, 1 to 3
  int64_t shape[3] = {1, 1, 1};  // of the user's image
  int degrees = 7;               // bit k: degree k is wanted
  bool superlevel = true, intersection = false, positive_bars = false, essential = false;
  bool cycles = false;
  Padding padding = Padding::none;
  double pad = 0;

  int64_t voxels() const { return shape[0] * shape[1] * shape[2]; }
  bool wants(int degree) const { return degrees >> degree & 1; }
};

// Pairs of one degree as indices of voxels, -1 in the padding (and for the death that never comes).
struct Degree {
  List<int32_t> matched;       // birth and death in the first image, birth and death in the second
  List<int32_t> unmatched[2];  // birth and death; of a barcode, all pairs are in the first
  // Where cycles are wanted, of each bar in the lists above: its place among the image's pairs, -1
  // for the component that never dies.
  List<int32_t> matched_bars, unmatched_bars[2];
};

struct Image {
  List<int32_t> key;  // on the grid
  List<Pair> pairs[3];
  int32_t oldest = 0;  // position
  // 3-D, for degree 1.
  List<uint8_t> planes;     // coface, last_edge and paired of its sweep
  List<uint64_t> critical;  // squares that end a loop and are not apparent, sorted
  // Of the image barcode: by the cell that the comparison image names (upper half) the one it
  // gives.
  List<uint64_t> partners;
  // Where cycles are wanted: of each component the oldest vertex of the one it joins; edges of each
  // loop, but for those that end a component.
  List<int32_t> elders;
  List<uint32_t> loops;
  List<int64_t> loop_ends;
};

class Matching {
 public:
  // The keys of one image (its barcode) or of two.
  Matching(const Task& task, const Keys& keys, int images);

  int images() const { return inputs_ == 2 ? 3 : 1; }
  void image(int i);  // stage 1: one of the images
  int reductions() const;
  void reduction(int i);  // stage 2: one of the reductions
  void finish();          // stage 3
  void run();             // all of them

  // Appends the cells of a cycle that represents a bar of input i, as the voxels they join.
  void cycle(Cycles& cycles, int k, int i, int32_t bar, List<int32_t>& out) const;

  // Of masks: whether input i has no foreground.
  bool is_empty(int i) const { return oldest_key_[i] != 0; }

  Degree degree[3];
  // The voxel whose value pads each image, for Padding::minmax.
  int64_t padding_voxel[2] = {0, 0};

 private:
  void fill(int i, const int32_t* values, int32_t padding);
  // Half a step keeps rounding away from whole quotients.
  int32_t voxel(int32_t position) const {
    const int32_t x = static_cast<int32_t>((position + 0.5) * per_step_[0]);
    return is_plain_ ? position - grid_.step[0] - 1 - 2 * (x - 1) : voxel_of(position, x);
  }
  int32_t voxel_of(int32_t position, int32_t x) const;
  template <int kDual, int kPrimal>
  void pair_up(int i, const Scan& scan, const int32_t* const* dual, const int32_t* const* primal);
  Side side(int i) const;
  void reduce_bars(int i);
  void reduce_image(int i);
  List<uint64_t> columns_in_order(int column, const Side& rows, const Side& columns) const;
  void link_bars();
  bool is_positive(int k, int i, const Pair& pair, const Pair& bar) const;
  void join(int k);
  void put(List<int32_t>& out, int k, int i, const Pair& pair) const;
  void put_alone(int k, int i, int32_t bar);
  void put_cell(List<int32_t>& out, int32_t v, int a, int b) const;

  const Task& task_;
  const int inputs_;
  const int32_t infinite_;
  Grid grid_;
  int64_t stride_[3] = {0, 0, 0};  // of the user's image along each axis of the grid
  double per_step_[2] = {1, 1};    // 1 / grid_.step
  bool is_plain_ = false;          // two axes without padding
  int border_ = 0;                 // voxels of padding on each side
  int top_ = 0;                    // the degree of the dual graph
  int32_t oldest_key_[2] = {0, 0};
  Image images_[3];  // prediction, target, comparison
};

}  // namespace surprisal::betti_matching
