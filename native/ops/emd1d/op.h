// Optimal transport on lines. Of clouds x (B, N, D) and y (B, M, D) of weights a (B, N), b (B, M):
//   W_l = integral over t in [0, mass] of |A_l^-1(t) - B_l^-1(t)|^p dt,  value = mean over l of
//   W_l,
// A_l and B_l the cumulative weights of the coordinates <x_i, theta_l>, <y_j, theta_l>: both are
// sorted and their quantiles merged (Villani 2003, thm 2.18; Bonneel et al. 2015). Without
// directions D is 1 and the coordinates are the points. Coordinates are float32 (double for float64
// points), less a common centre if projected; all else double. Gradients are for an upstream of 1:
// in points of one coordinate, which are treated alike, of the plan that shares its mass among
// them; in weights, where both quantiles jump at one t, the mean of the two extreme potentials, of
// zero weighted mean. Results do not depend on the number of threads.
#pragma once
#include "core/view.h"

namespace surprisal::cuda {
class Stream;
}

namespace surprisal::emd1d {

struct Transport {
  View x, y;            // of one float dtype
  View a, b;            // any float dtype; absent: uniform, mass 1
  View directions;      // (L, D), float32, or double for float64 points; or absent
  View value;           // (B), double for float64 points, else float32
  View dx, dy, da, db;  // like their inputs, of value's type; absent unless wanted
  int64_t batch = 0, n = 0, m = 0;
  int64_t width = 1;        // D
  int64_t projections = 1;  // L
  double p = 2;
  int64_t workspace = 0;  // bytes of scratch on a device; 0: kScratch of plan.h
};

void check_sizes(const Transport& op);
void transport(const Transport& op);
void transport_cuda(const Transport& op, cuda::Stream& stream);

}  // namespace surprisal::emd1d
