// One problem of a batch, as the kernels see it: masses checked, weights as doubles.
#pragma once
#include <string>
#include <vector>

#include "core/scratch.h"
#include "core/values.h"
#include "ops/sinkhorn/op.h"

namespace surprisal::sinkhorn {

// One side: n points from row `start` of its array on.
struct Measure {
  View points;  // the whole array, absent for a given cost
  int64_t start = 0, n = 0;
  const double* weight = nullptr;  // (n)
  double mass = 1;
  double rho = -1;                 // negative: infinite
  const int32_t* label = nullptr;  // (n), may be absent
};

struct Instance {
  Measure x, y;
  int64_t index = 0;    // in the batch
  double scale = 0;     // C differs by about this much over the pairs: where annealing begins
  double size = 0;      // |C| is at most about this, centred where it is of points
  double diameter = 0;  // of a box around all points of the batch
};

// Checks everything once and gives the problems one by one.
class Batch {
 public:
  explicit Batch(const Problem& op);
  Instance instance(int64_t index) const;
  int64_t rows() const { return rows_; }        // sum of N
  int64_t columns() const { return columns_; }  // sum of M
  // Balanced: gradients in the weights have zero weighted mean.
  bool balanced() const { return op_.rho_a < 0 && op_.rho_b < 0; }

 private:
  void check_labels(const View& labels, const char* name) const;
  void find_scales();

  const Problem& op_;
  int64_t rows_ = 0, columns_ = 0;
  Scratch<double> a_, b_;
  std::vector<double> scale_, size_;
  double diameter_ = 0, label_range_ = 0;
};

const char* name_of(const Problem& op);

// What a problem is computed with. Exponents of about 1.44 size/epsilon are rounded to 24 or 53
// bits: float32 is taken while that leaves 10 of them after the point, and a smaller epsilon than
// float64 resolves so is raised. At the other end a sum near 1, rounded to 24 bits, times epsilon.
struct Precision {
  double epsilon = 0;
  bool wide = false;
};
Precision precision_of(const Problem& op, const Instance& one);
// Costs so small beside epsilon that sums of powers are taken as differences from 1: weak.h.
inline bool is_weak(double scale, double epsilon) { return scale < epsilon / 512; }

// Chunks of rows whose gradients in the label costs are added up apart, of whole row blocks.
inline int64_t label_chunks(int64_t rows, int64_t labels) {
  const int64_t blocks = (rows + 23) / 24, most = (int64_t{1} << 21) / (labels * labels);
  return std::min(blocks, std::max<int64_t>(1, std::min<int64_t>(16, most)));
}

// What a solve gives besides potentials.
struct Outcome {
  double value = 0, error = 0;
  int64_t iterations = 0;
  bool converged = true;
};

// Where an instance's part of `potentials` lies: arrays of kKept each.
struct Kept {
  double *x, *y, *xx, *yy;  // (kKept, n), (kKept, m); the last two only if debiased
};

}  // namespace surprisal::sinkhorn
