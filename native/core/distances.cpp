#include "core/distances.h"

#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "core/scratch.h"

namespace surprisal {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// One line of n voxels: f becomes min over q of f[q] + weight (p - q)^2.
class Line {
 public:
  Line(int64_t n, double weight) : n_(n), weight_(weight), f_(n), from_(n), apex_(n) {}
  double* values() const { return f_.data(); }

  void transform(double* out, int64_t step) {
    int64_t last = -1;
    for (int64_t q = 0; q < n_; ++q) {
      if (f_[q] == kNever) continue;
      double from = -kNever;
      for (; last >= 0; --last) {
        from = meeting(apex_[last], q);
        if (from > from_[last]) break;
        from = -kNever;
      }
      apex_[++last] = q;
      from_[last] = from;
    }
    put(out, step, last);
  }

 private:
  // Where the parabola at q goes below the one at p < q.
  double meeting(int64_t p, int64_t q) const {
    return (f_[q] - f_[p]) / (2 * weight_ * static_cast<double>(q - p)) +
           static_cast<double>(q + p) / 2;
  }
  void put(double* out, int64_t step, int64_t last) const {
    int64_t k = 0;
    for (int64_t p = 0; p < n_; ++p, out += step) {
      if (last < 0) {
        *out = kNever;
        continue;
      }
      while (k < last && from_[k + 1] < static_cast<double>(p)) ++k;
      const double apart = static_cast<double>(p - apex_[k]);
      *out = f_[apex_[k]] + weight_ * apart * apart;
    }
  }

  const int64_t n_;
  const double weight_;
  Scratch<double> f_, from_;  // from_: where each parabola begins to be the lowest
  Scratch<int64_t> apex_;
};

// The squared distance along one row to the nearest voxel outside.
void row_distances(const uint8_t* mask, int64_t n, double spacing, double* out) {
  double far = kNever;
  for (int64_t i = 0; i < n; ++i) out[i] = far = mask[i] ? far + spacing : 0;
  far = kNever;
  for (int64_t i = n - 1; i >= 0; --i) {
    far = mask[i] ? far + spacing : 0;
    out[i] = std::min(out[i], far);
    out[i] *= out[i];
  }
}

}  // namespace

void squared_distances(const uint8_t* mask, const int64_t (&shape)[3], const double (&spacing)[3],
                       double* out) {
  const int64_t size = shape[0] * shape[1] * shape[2];
  if (size == 0) return;
  const int64_t row = shape[2];
  parallel_for(size / row, 4096 / row + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      row_distances(mask + i * row, row, spacing[2], out + i * row);
  });
  int64_t step = row;
  for (int axis = 1; axis >= 0; step *= shape[axis--]) {
    const int64_t n = shape[axis], block = step * n;
    if (n <= 1) continue;
    parallel_for(size / n, 4096 / n + 1, [&](int64_t begin, int64_t end) {
      Line line(n, spacing[axis] * spacing[axis]);
      for (int64_t i = begin; i < end; ++i) {
        double* const first = out + i / step * block + i % step;
        for (int64_t p = 0; p < n; ++p) line.values()[p] = first[p * step];
        line.transform(first, step);
      }
    });
  }
}

}  // namespace surprisal
