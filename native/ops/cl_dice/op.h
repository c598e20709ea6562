// The soft-clDice loss of tubular and network-like regions (Shit et al. 2021, algorithm 2), of
// probabilities p and masks y with soft skeletons S_p and S_y (cpu/soft_skeleton.h), s = smooth:
//   a = (sum S_p y + s)/(sum S_p + s),  b = (sum S_y p + s)/(sum S_y + s),  clDice = 1 - 2ab/(a+b)
//   dice = 1 - (2 sum p y + s)/(sum p + sum y + s),  loss = (1-w) clDice + w dice
// Sums are of all images and channels, of each channel, or of each channel of each image. Backward
// takes S_p again; S_y it gets, from forward or whoever gave it, for a mask's never changes.
#pragma once
#include "core/view.h"

namespace surprisal::cl_dice {

enum class Sums : int32_t { batch, channel, image };

// Sums over an image: of a skeleton or p times the other image, of it, and of the other.
constexpr int kOfPrediction = 0;  // S_p, y
constexpr int kOfTarget = 3;      // S_y, p
constexpr int kOverlap = 6;       // p, y
constexpr int kSums = 9;

// Factors of the gradient: S_p's is y and 1, p's S_y, y and 1.
constexpr int kSlopes = 5;

struct Problem {
  View prediction;  // (B, C, planes, rows, columns) any float dtype
  View target;      // the same of any dtype, or class indices (B, ...), int32 or int64
  View skeleton;    // S_y, like prediction; may be absent
  int64_t batch = 0, channels = 0, planes = 0, rows = 0, columns = 0;
  bool volume = false;        // three axes; else one plane
  bool labels = false;        // the target holds class indices
  bool logits = false;        // p = sigmoid(prediction)
  int64_t first_channel = 0;  // those before it have no loss
  int64_t iterations = 10;
  int32_t sums = 0;       // Sums
  int32_t reduction = 1;  // Reduction

  int64_t scored() const { return channels - first_channel; }
  int64_t units() const {
    const auto kind = static_cast<Sums>(sums);
    return kind == Sums::batch ? 1 : kind == Sums::channel ? scored() : batch * scored();
  }
  // The unit of scored image k = b (C - first) + c.
  int64_t unit_of(int64_t k) const {
    const auto kind = static_cast<Sums>(sums);
    return kind == Sums::batch ? 0 : kind == Sums::channel ? k % scored() : k;
  }
};
struct Forward : Problem {
  double smooth = 1, dice_weight = 0;
  View loss;    // (1) or (units): float64 for float64, else float32
  View slopes;  // (units, kSlopes) float64; may be absent
  View kept;    // S_y like prediction, of the loss's dtype; may be absent
};
struct Backward : Problem {
  View slopes, upstream;
  View grad;  // like prediction
};

void forward(const Forward& op);
void backward(const Backward& op);

}  // namespace surprisal::cl_dice
