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
  View cancel;  // int32 (1), may be absent: not 0 stops the work with an error (cancel.h)
};

enum class Filtration : int32_t { sublevel, superlevel, both };
constexpr const char* kCallers[] = {"persistenceBarcode", "bettiMatching", "bettiMatchingBatch",
                                    "bettiMatchingLoss",  "topologyLoss",  "barcodeLengthLoss"};

// Pairs as indices of voxels in their image, -1 in the padding and for the death that never comes.
struct Pairs : Problem {
  int64_t capacity = 0;  // int32 of `pairs` that an image may fill
  double threshold = 0.5;
  View counts;  // (images, axes, 3) int32: pairs matched, of the prediction alone, of the target
                // alone
  // (images, capacity) int32: the lists one after the other; of a barcode all births, from the
  // middle on all deaths. Unwritten if too long.
  View pairs;
  View values;   // barcode only: (images, capacity) like prediction, the values at `pairs`
  View metrics;  // (images, 2) float64, may be absent: matching error, Betti number error of masks
  // Representative cycles of all pairs in their order, absent where not wanted: cells as the voxels
  // they join, 2^k of them in degree k.
  int64_t cycle_capacity = 0;  // int32 of `cycles` that an image may fill
  View cycles;                 // (images, cycle_capacity) int32; unwritten if too long
  View cycle_ends;             // (images, capacity / 2) int32: where each pair's cells end
  View cycle_sizes;            // (images) float64: int32 that the cycles of the image take
};

struct Loss : Problem {
  double weight_matched = 1, weight_prediction = 1, weight_target = 1;
  bool one_zero = false;  // unmatched pairs are pushed to (1, 0), not to the diagonal
  int32_t reduction = 1;  // 0 none, 1 mean, 2 sum
  View loss;              // (1), or (images) without a reduction, like prediction
  View grad;              // like prediction, of each image's own loss; may be absent
};

// Losses of barcodes alone, wherever in the images their bars are, over bars longer than
// min_length:
//   wasserstein: the least sum of |bar - bar'|^2 over pairs and length^2 / 2 over the others
//     (Hu et al. 2019, eq. 3)
//   longest: as many bars of the prediction as the target has, the longest, are driven apart to 1
//     and 0, unless longer than `perfect`; length^2 of the others (Hu et al. 2019, their code)
//   lengths: sum of 1 - length^exponent over the longest `numbers`, of length^exponent over the
//     others; the component that never dies counts as if it died at 0, or at 1 of sublevels
//     (Clough et al. 2020, eq. 4)
struct BarLoss : Problem {
  int32_t kind = 0;  // BarKind
  double weight_matched = 1, weight_prediction = 1, weight_target = 1;
  double perfect = 0.99, exponent = 2;
  View numbers;           // lengths: (1 or channels, axes) int32
  int32_t reduction = 1;  // as of Loss
  View loss, grad;
};
enum class BarKind : int32_t { wasserstein, longest, lengths };

// out = factor upstream grad, times p (1 - p) if the prediction was a sigmoid's.
struct Scale {
  View grad, upstream, probability, out;
  int64_t images = 0;
  double factor = 1;
};

// The same where the gradient is a list of its places, on a device: out is zero elsewhere.
struct Scatter {
  View index;     // int64 (n): where it is not zero, in (images, ...spatial), ascending
  View value;     // (n): what it is there
  View upstream;  // (1) or (images)
  View out;
  int64_t images = 0;
  double factor = 1;
};

// The list from a gradient on the host, times p (1 - p): first how long it is, then, with views of
// that size, its entries.
struct Sparse {
  View grad, probability;
  View count;         // int64 (1)
  View index, value;  // as Scatter's; may be absent
};

// Whether the device of `prediction` has a kernel for images of these axes; the CPU has none.
struct Fits {
  View prediction;
  Dims spatial;
  bool padded = false;
  View out;  // on the host: int32 (1), 1 or 0
};

// Class indices beside images of so many channels, refused where they are no classes: what matches
// takes masks of each class.
struct Labels {
  View target;  // int32 or int64
  int64_t channels = 0;
  int32_t caller = 0;  // kCallers
};

void pairs(const Pairs& op);
void loss(const Loss& op);
void bar_loss(const BarLoss& op);
void scale(const Scale& op);
void sparse(const Sparse& op);
void scatter(const Scatter& op);
void fits(const Fits& op);
void labels(const Labels& op);

// Of crops (plan.h) alone; `cancel` is not looked at, and a NaN is a fault of the device, as is a
// bad class index. Pairs come without metrics and values.
void pairs_cuda(const Pairs& op, cuda::Stream& stream);
void loss_cuda(const Loss& op, cuda::Stream& stream);
void scale_cuda(const Scale& op, cuda::Stream& stream);
void scatter_cuda(const Scatter& op, cuda::Stream& stream);
void fits_cuda(const Fits& op, cuda::Stream& stream);
void labels_cuda(const Labels& op, cuda::Stream& stream);

}  // namespace surprisal::betti_matching
