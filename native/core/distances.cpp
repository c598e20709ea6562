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
    const double height = (f_[q] - f_[p]) / weight_;
    return (height + static_cast<double>(q * q - p * p)) / static_cast<double>(2 * (q - p));
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

}  // namespace

void squared_distances(const uint8_t* mask, const int64_t (&shape)[3], const double (&spacing)[3],
                       double* out) {
  const int64_t size = shape[0] * shape[1] * shape[2];
  for (int64_t i = 0; i < size; ++i) out[i] = mask[i] ? kNever : 0;
  int64_t step = 1;
  for (int axis = 2; axis >= 0; step *= shape[axis--]) {
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
