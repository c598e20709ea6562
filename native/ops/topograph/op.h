// Topograph loss of segmentations of planes, one class against the rest (Lux, Berger et al., ICLR
// 2025): a region is a connected set of pixels of one predicted and one true class; a wrong region
// is regular if it has exactly one neighbour that is rightly background and exactly one foreground
// neighbour (connected in what its own removal leaves), since then taking it away changes no
// topology, else critical.
//   loss = sum over critical regions of the mean of p of the class predicted there
// Foreground is 8-connected, background 4-connected, or the other way round. And the metric DIU:
//   sum over k of dim ker + dim coker of H_k(prediction and target) -> H_k(prediction or target),
// degree 1 by the components of the complements (Alexander duality).
#pragma once
#include "core/view.h"

namespace surprisal::topograph {

enum class Aggregation : int32_t { mean, sum, rms, max, min };

struct Problem {
  View prediction;  // (B, C, H, W) any float dtype; with one channel its foreground's
  View target;      // class indices (B, H, W) int32, int64; or masks (B, C, H, W) of any dtype
  int64_t batch = 0, channels = 0, height = 0, width = 0;
  bool labels = false;     // the target holds class indices
  int64_t ignore = -100;   // pixels of this index are right, whatever is predicted there
  int32_t activation = 0;  // Activation, of the prediction
  bool sphere = false;     // one pixel of class 0 all round
  bool background = true;  // class 0 counts; of one channel only its foreground does
  bool eight = true;       // foreground is 8-connected
  int32_t caller = 0;      // kCallers
};
constexpr const char* kCallers[] = {"topographLoss", "diuError"};

struct Forward : Problem {
  int32_t aggregation = 0;
  int32_t reduction = 1;  // Reduction
  View loss;              // (1) or (B, scored classes): float64 for float64, else float32
  View classes;           // (B, 2, H, W) int32: predicted and true
  View slopes;  // (B, 2, H, W) like loss, may be absent: of the loss of the predicted class and of
                // the true one by p of the predicted
};
struct Backward : Problem {
  int32_t reduction = 1;
  View classes, slopes, upstream;
  View grad;  // like prediction
};
struct Metric : Problem {
  int32_t reduction = 1;
  View error;  // as loss, float32
};

void forward(const Forward& op);
void backward(const Backward& op);
void metric(const Metric& op);

}  // namespace surprisal::topograph
