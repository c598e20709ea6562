// Persistence barcodes of images (V-construction) and their Betti matching: bars of a prediction
// and a target are matched if both meet one bar of the comparison image min(f0, f1) through the
// image barcodes (Stucki et al., ICML 2023; arXiv 2407.04683), index for index as in
// Betti-Matching-3D, ties included. Loss of one image, in the filtration's order:
//   sum over matched 2 [(b - b')^2 + (d - d')^2] + sum over unmatched (b - d)^2,
// differentiable in the prediction at the voxels that births and deaths take their values from.
// Images are independent; bits do not depend on threads. A NaN throws before anything is written.
#pragma once
#include "core/view.h"

namespace surprisal::betti_matching {

struct Problem {
  View prediction, target;  // (images, ...spatial) float32 or float64; a barcode has no target
  Dims shape;               // of prediction, batch axes included
  int64_t axes = 0;         // how many of them are spatial: 1 to 3
  int32_t caller = 0;       // which function speaks in errors: kCallers
  int32_t degrees = 7;      // bit k: degree k is wanted
  int32_t filtration = 1;   // Filtration
  bool intersection = false, positive_bars = false, essential = false;
  int32_t padding = 0;  // Padding
  double pad = 0, min_length = 0;
  View cancel;  // int32 (1), may be absent: not 0 stops between tasks with an error
};

enum class Filtration : int32_t { sublevel, superlevel, both };
constexpr const char* kCallers[] = {"persistenceBarcode", "bettiMatching", "bettiMatchingBatch",
                                    "bettiMatchingLoss"};

// Pairs as indices of voxels in their image, -1 in the padding and for the death that never comes.
struct Pairs : Problem {
  int64_t capacity = 0;  // int32 of `pairs` that an image may fill
  double threshold = 0.5;
  View counts;   // (images, axes, 3) int32: pairs matched, of the prediction alone, of the target
                 // alone
  View pairs;    // (images, capacity) int32: the lists one after the other; unwritten if too long
  View values;   // barcode only: (images, capacity) like prediction, the values at `pairs`
  View metrics;  // (images, 2) float64, may be absent: matching error, Betti number error of masks
};

struct Loss : Problem {
  double weight_matched = 1, weight_prediction = 1, weight_target = 1;
  bool one_zero = false;  // unmatched pairs are pushed to (1, 0), not to the diagonal
  int32_t reduction = 1;  // 0 none, 1 mean, 2 sum
  View loss;              // (1), or (images) without a reduction, like prediction
  View grad;              // like prediction, of each image's own loss; may be absent
};

// out = factor upstream grad, times p (1 - p) if the prediction was a sigmoid's.
struct Scale {
  View grad, upstream, probability, out;
  int64_t images = 0;
  double factor = 1;
};

void pairs(const Pairs& op);
void loss(const Loss& op);
void scale(const Scale& op);

}  // namespace surprisal::betti_matching
