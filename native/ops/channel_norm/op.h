// Normalisation of x (B, C, S) by channels: y = (x - mean) r weight[c] + bias[c],
// r = 1/sqrt(var + eps), the statistics with divisor n taken over
//   groups > 0   C/groups neighbouring channels of one item   (Wu and He 2018)
//   groups = 0   one channel of all items                     (Ioffe and Szegedy 2015)
// In the latter `fixed` takes the running statistics instead; else those are moved by `momentum`
// towards mean and var n/(n-1). With h = (x - mean) r and q = g weight:
//   dx = r (q - mean(q) - h mean(q h)), fixed: r q;  dweight = Σ g h;  dbias = Σ g
// Sums of a channel of an item are float64 sums of blocks, combined in order: the same bits for any
// number of threads, and for groups whatever the other items are. Saved: mean, r per statistic.
#pragma once
#include "core/view.h"

namespace surprisal::channel_norm {

struct Forward {
  View x, y;                       // (B, C, S)
  View mean, r;                    // (B, groups) or (C), in the compute type
  View weight, bias;               // (C), optional
  View running_mean, running_var;  // (C), optional unless fixed; any float dtype
  int64_t batch = 1, channels = 1, size = 1, groups = 0;
  double eps = 0, momentum = 0;
  bool fixed = false;
};
struct Backward {
  View x, g;  // (B, C, S)
  View mean, r, weight;
  int64_t batch = 1, channels = 1, size = 1, groups = 0;
  bool fixed = false;
  View dx, dweight, dbias;  // those that are wanted
};

void forward(const Forward& op);
void backward(const Backward& op);

}  // namespace surprisal::channel_norm
