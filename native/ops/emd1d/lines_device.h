// A block has a line: sorted lists of both sides become cumulative weights, whose overlaps are the
// plan. A point finds the first of the other side that it shares mass with by bisection and goes on
// from there; so slopes of both sides, and the value from x's. Potentials of both staircases
// (line.h) are sums of differences of costs along them: f rises by c(i+1, j) - c(i, j) where x
// steps at j.
#pragma once
#include "ops/emd1d/device.h"

namespace surprisal::emd1d {

// Called, not inlined: it takes more registers than all the rest.
__device__ SP_CALLED inline double power_of(double x, double p) { return pow(x, p); }

struct LineCost {
  double p;

  __device__ double value(double d) const {
    const double size = fabs(d);
    return p == 1 ? size : p == 2 ? d * d : power_of(size, p);
  }
  __device__ double slope(double d) const {
    if (d == 0) return 0;
    if (p == 2) return 2 * d;
    return copysign(p == 1 ? 1 : p * power_of(fabs(d), p - 1), d);
  }
};

// First k of [0, count - 1) with f(k), else count - 1.
template <class F>
__device__ inline int64_t first_of(int64_t count, F&& f) {
  int64_t low = 0, high = count - 1;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (f(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

struct LineMemory {
  double warp[kLineThreads / cuda::kWarp];
};

// One side of one line.
template <class A>
struct LineSide {
  int64_t n, start;      // where its numbers begin
  const double* weight;  // (n), of the points
  DeviceSide<A> all;

  __device__ LineSide(const DeviceSide<A>& side, int64_t line, int64_t problem)
      : n(side.n), start(line * side.n), weight(side.weight + problem * side.n), all(side) {}
  __device__ double at(int64_t k) const { return cuda::load(all.at + start + k); }
  __device__ int64_t order(int64_t k) const { return cuda::load(all.order + start + k); }
  __device__ double own(int64_t k) const { return cuda::load(weight + order(k)); }
  // Cumulative weight up to and with k.
  __device__ double sum(int64_t k) const { return k < 0 ? 0 : cuda::load(all.sum + start + k); }
};

template <class A>
class LineSolver {
 public:
  __device__ LineSolver(const Job<A>& job, LineMemory& memory)
      : job_(job),
        memory_(memory),
        line_(cuda::block_index()),
        problem_(cuda::block_index() / job.lines),
        x_(job.x, line_, problem_),
        y_(job.y, line_, problem_),
        cost_{job.p} {}

  __device__ void run() {
    add_up(x_);
    add_up(y_);
    cuda::sync_threads();  // cumulative weights are there
    const double value = block_total(along(x_, y_, 1), memory_.warp);
    if (cuda::thread_index() == 0) cuda::store(job_.value + line_, value);
    if (job_.points) {
      along(y_, x_, -1);
      cuda::sync_threads();  // slopes are there
      scatter(x_);
      scatter(y_);
    }
    if (!job_.weights) return;
    const double n = static_cast<double>(x_.n + y_.n);
    tie_ = 8 * 2.3e-16 * cuda::load(job_.mass + problem_) * sqrt(n);
    climb_x();
    climb_y();
  }

 private:
  // g(k, sum of f up to and with k)
  template <class F, class G>
  __device__ void scan(int64_t n, F&& f, G&& g) {
    const int threads = cuda::block_size(), warps = threads / cuda::kWarp;
    double before = 0;
    for (int64_t first = 0; first < n; first += threads) {
      const int64_t k = first + cuda::thread_index();
      double x = k < n ? f(k) : 0;
      for (int step = 1; step < cuda::kWarp; step *= 2) {
        const double other = cuda::shuffle_up(x, step);
        if (cuda::lane_index() >= step) x += other;
      }
      cuda::sync_threads();  // the totals before have been read
      if (cuda::lane_index() == cuda::kWarp - 1) cuda::store(memory_.warp + cuda::warp_index(), x);
      cuda::sync_threads();  // the warps' totals are there
      double all = before;
      for (int w = 0; w < warps; ++w) {
        if (w == cuda::warp_index()) x += all;
        all += cuda::load(memory_.warp + w);
      }
      before = all;
      if (k < n) g(k, x);
    }
  }
  __device__ void add_up(const LineSide<A>& side) {
    scan(
        side.n, [&](int64_t k) { return side.own(k); },
        [&](int64_t k, double sum) { cuda::store(side.all.sum + side.start + k, sum); });
  }

  // Mass times cost of the thread's points; their slopes where wanted.
  __device__ double along(const LineSide<A>& own, const LineSide<A>& other, double sign) {
    const int lanes = lanes_of_point(own.n, other.n), lane = cuda::thread_index() % lanes;
    double total = 0;
    for (int64_t i = cuda::thread_index() / lanes; i < own.n; i += cuda::block_size() / lanes) {
      const double low = own.sum(i - 1), high = own.sum(i), at = own.at(i);
      double slope = 0;
      int64_t j = first_of(other.n, [&](int64_t k) { return other.sum(k) > low; }) + lane;
      for (; j < other.n; j += lanes) {
        const double begin = other.sum(j - 1), end = other.sum(j);
        if (begin >= high) break;
        const double mass = (end < high ? end : high) - (begin > low ? begin : low);
        const double d = sign * (at - other.at(j));
        if (!(mass > 0)) continue;
        total += mass * cost_.value(d);
        if (job_.points) slope += mass * cost_.slope(d);
      }
      if (!job_.points) continue;
      if (lanes > 1) slope = cuda::warp_sum(slope);
      if (lane == 0) cuda::store(own.all.raw + own.start + i, sign * slope);
    }
    return total;
  }

  // To the points that slopes belong to; those of one coordinate get their shares of the sum.
  __device__ void scatter(const LineSide<A>& side) {
    if (!side.all.slope) return;
    for (int64_t k = cuda::thread_index(); k < side.n; k += cuda::block_size()) {
      const double at = side.at(k);
      if (k > 0 && side.at(k - 1) == at) continue;
      double sum = raw(side, k), mass = side.own(k);
      int64_t end = k + 1;
      for (; end < side.n && side.at(end) == at; ++end) {
        sum += raw(side, end);
        mass += side.own(end);
      }
      for (int64_t e = k; e < end; ++e) {
        const double share = end == k + 1 ? sum : mass > 0 ? sum * (side.own(e) / mass) : 0;
        const A slope = static_cast<A>(job_.factor() * share);
        cuda::store(side.all.slope + side.start + side.order(e), slope);
      }
    }
  }
  __device__ static double raw(const LineSide<A>& side, int64_t k) {
    return cuda::load(side.all.raw + side.start + k);
  }

  __device__ double cost(int64_t i, int64_t j) const { return cost_.value(x_.at(i) - y_.at(j)); }
  // Whether a staircase goes on in x from (i, j): that which does where both could, and the other.
  __device__ bool steps_x(int64_t i, int64_t j, bool x_first) const {
    const double apart = x_.sum(i) - y_.sum(j);
    return x_first ? apart <= tie_ : apart < -tie_;
  }
  // The mean of both staircases' potentials.
  __device__ void climb_x() {
    if (!x_.all.potential) return;
    scan(
        x_.n,
        [&](int64_t k) {
          double rise = 0;
          for (int s = 0; s < 2 && k > 0; ++s) {
            const auto steps = [&](int64_t j) { return steps_x(k - 1, j, s == 0); };
            const int64_t j = first_of(y_.n, steps);
            rise += cost(k, j) - cost(k - 1, j);
          }
          return rise / 2;
        },
        [&](int64_t k, double f) { store_potential(x_, k, f); });
  }
  __device__ void climb_y() {
    if (!y_.all.potential) return;
    scan(
        y_.n,
        [&](int64_t k) {
          if (k == 0) return cost(0, 0);
          double rise = 0;
          for (int s = 0; s < 2; ++s) {
            const auto stays = [&](int64_t i) { return !steps_x(i, k - 1, s == 0); };
            const int64_t i = first_of(x_.n, stays);
            rise += cost(i, k) - cost(i, k - 1);
          }
          return rise / 2;
        },
        [&](int64_t k, double g) { store_potential(y_, k, g); });
  }
  __device__ static void store_potential(const LineSide<A>& side, int64_t k, double f) {
    cuda::store(side.all.potential + side.start + side.order(k), f);
  }

  const Job<A>& job_;
  LineMemory& memory_;
  const int64_t line_, problem_;
  const LineSide<A> x_, y_;
  const LineCost cost_;
  double tie_ = 0;
};

template <class A>
__global__ void __launch_bounds__(kLineThreads, 2)
    emd1d_line_kernel(const __grid_constant__ Job<A> job) {
  LineSolver<A>(job, cuda::shared<LineMemory>()).run();
}

}  // namespace surprisal::emd1d
