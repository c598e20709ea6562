// Between clouds and lines: weights and centres of each problem, points on directions, and what the
// lines add up to. Streams over points; nothing is added up in an order that sizes do not fix.
#pragma once
#include "ops/emd1d/device.h"

namespace surprisal::emd1d {

struct Faults {
  cuda::FaultSite points[2], directions, weight[2], none[2], masses;
};

struct Measure {
  cuda::Numbers given[2];
  int64_t count[2] = {};
  double* weight[2] = {};
  double uniform[2] = {};  // where none are given
  double* mass = nullptr;
  double allowed = 0;
  int64_t batch = 0, first = 0;  // problems of the call, and which is the first here
  int32_t sliced = 0;
  Faults faults;
};

// Each at least 0, their sums positive and nearly the same: then they become the same.
__global__ void __launch_bounds__(kThreads, 2)
    emd1d_measure_kernel(const __grid_constant__ Measure w) {
  double* memory = &cuda::shared<double>();
  const int64_t p = cuda::block_index(), named = w.first + p, told = w.batch > 1 ? named : -1;
  const bool leads = cuda::thread_index() == 0;
  const bool uniform = !w.given[0] && !w.given[1];
  const auto weight = [&](bool second, int64_t i) {
    const cuda::Numbers& given = second ? w.given[1] : w.given[0];
    const int64_t count = second ? w.count[1] : w.count[0];
    if (uniform) return second ? w.uniform[1] : w.uniform[0];
    const double x = given ? given[p * count + i] : 1 / static_cast<double>(count);
    if (x >= 0 && x <= std::numeric_limits<double>::max()) return x;
    cuda::report_fault(second ? w.faults.weight[1] : w.faults.weight[0], named * count + i,
                       bits_of_double(x), w.sliced, 0);
    return 0.0;
  };
  double mass[2];
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    double sum = 0;
    for (int64_t i = cuda::thread_index(); i < w.count[s]; i += kThreads) sum += weight(s, i);
    mass[s] = block_total(sum, memory);
    if (!(mass[s] > 0) && leads) cuda::report_fault(w.faults.none[s], named, 0, w.sliced, told);
  }
  const double a = mass[0], b = mass[1];
  if (!(fabs(a - b) <= w.allowed * (a > b ? a : b)) && leads)
    cuda::report_fault(w.faults.masses, named, bits_of_double(a), bits_of_double(b),
                       w.sliced | (told < 0 ? 2 : 0));
  const bool unit = fabs(a - 1) <= w.allowed && fabs(b - 1) <= w.allowed;
  const double common = uniform ? a : unit ? 1 : (a + b) / 2;
  if (leads) cuda::store(w.mass + p, common);
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    const double factor = uniform ? 1 : mass[s] > 0 ? common / mass[s] : 0;
    for (int64_t i = cuda::thread_index(); i < w.count[s]; i += kThreads)
      cuda::store(w.weight[s] + p * w.count[s] + i, weight(s, i) * factor);
  }
}

__global__ void __launch_bounds__(kThreads)
    emd1d_check_kernel(cuda::Numbers numbers, int64_t count, int64_t width, int32_t sliced,
                       cuda::FaultSite site) {
  const int64_t i = cuda::block_index() * kThreads + cuda::thread_index();
  if (i >= count) return;
  const double x = numbers[i];
  if (!(fabs(x) <= std::numeric_limits<double>::max()))
    cuda::report_fault(site, i / width, bits_of_double(x), sliced, 0);
}

// A centre costs projected float32 nothing and saves their digits.
__global__ void __launch_bounds__(kThreads, 2)
    emd1d_centre_kernel(cuda::Numbers points, int64_t n, int64_t width, double* to) {
  const int64_t p = cuda::block_index() / width, k = cuda::block_index() % width;
  double sum = 0;
  for (int64_t i = cuda::thread_index(); i < n; i += kThreads)
    sum += points[(p * n + i) * width + k] / static_cast<double>(n);
  sum = block_total(sum, &cuda::shared<double>());
  if (cuda::thread_index() == 0) cuda::store(to + cuda::block_index(), sum);
}

// Coordinates of a side's points on the lines in work, a few lines a thread.
template <class A>
__global__ void __launch_bounds__(kThreads)
    emd1d_project_kernel(const __grid_constant__ Job<A> job, bool second) {
  const DeviceSide<A>& side = second ? job.y : job.x;
  const int64_t all = job.batch * side.n;
  const int64_t own = cuda::block_index() * kThreads + cuda::thread_index();
  const int64_t point = own % all, first = own / all * kProjected, problem = point / side.n;
  if (first >= job.lines) return;
  const int64_t to = problem * job.lines * side.n + point % side.n;
  if (!job.directions) {
    cuda::store(side.along + to, static_cast<A>(side.points[point]));
    return;
  }
  A sum[kProjected] = {};
  for (int64_t k = 0; k < job.width; ++k) {
    const double centre = cuda::load(job.centre + problem * job.width + k);
    const A x = static_cast<A>(side.points[point * job.width + k] - centre);
#pragma unroll
    for (int64_t l = 0; l < kProjected; ++l) {
      const int64_t line = first + l < job.lines ? first + l : first;
      sum[l] = fused(cuda::load(job.directions + (job.first + line) * job.width + k), x, sum[l]);
    }
  }
#pragma unroll
  for (int64_t l = 0; l < kProjected; ++l)
    if (first + l < job.lines) cuda::store(side.along + to + (first + l) * side.n, sum[l]);
}

// Slopes along the lines in work become slopes of the points, a few features a thread.
template <class A>
__global__ void __launch_bounds__(kThreads)
    emd1d_unproject_kernel(const __grid_constant__ Job<A> job, bool second) {
  const DeviceSide<A>& side = second ? job.y : job.x;
  const int64_t all = job.batch * side.n;
  const int64_t own = cuda::block_index() * kThreads + cuda::thread_index();
  const int64_t point = own % all, first = own / all * kProjected, problem = point / side.n;
  if (first >= job.width) return;
  A* to = side.dpoints + point * job.width;
  A sum[kProjected];
#pragma unroll
  for (int64_t k = 0; k < kProjected; ++k)
    sum[k] = job.first > 0 && first + k < job.width ? cuda::load(to + first + k) : A{0};
  for (int64_t l = 0; l < job.lines; ++l) {
    const A slope = cuda::load(side.slope + (problem * job.lines + l) * side.n + point % side.n);
#pragma unroll
    for (int64_t k = 0; k < kProjected; ++k) {
      const int64_t feature = first + k < job.width ? first + k : first;
      const A along = job.directions
                          ? cuda::load(job.directions + (job.first + l) * job.width + feature)
                          : A{1};
      sum[k] = fused(along, slope, sum[k]);
    }
  }
#pragma unroll
  for (int64_t k = 0; k < kProjected; ++k)
    if (first + k < job.width) cuda::store(to + first + k, sum[k]);
}

template <class A>
__global__ void __launch_bounds__(kThreads)
    emd1d_add_potentials_kernel(const __grid_constant__ Job<A> job, bool second) {
  const DeviceSide<A>& side = second ? job.y : job.x;
  const int64_t point = cuda::block_index() * kThreads + cuda::thread_index();
  if (point >= job.batch * side.n) return;
  double sum = job.first > 0 ? cuda::load(side.dweights + point) : 0;
  for (int64_t l = 0; l < job.lines; ++l) {
    const int64_t line = point / side.n * job.lines + l;
    sum += cuda::load(side.potential + line * side.n + point % side.n);
  }
  cuda::store(side.dweights + point, sum);
}

// Of zero weighted mean.
template <class A>
__global__ void __launch_bounds__(kThreads, 2)
    emd1d_weights_kernel(const __grid_constant__ Job<A> job, bool second) {
  const DeviceSide<A>& side = second ? job.y : job.x;
  const int64_t from = cuda::block_index() * side.n;
  const double mass = cuda::load(job.mass + cuda::block_index());
  double mean = 0;
  for (int64_t i = cuda::thread_index(); i < side.n; i += kThreads)
    mean += cuda::load(side.weight + from + i) / mass * cuda::load(side.dweights + from + i);
  mean = block_total(mean, &cuda::shared<double>());
  const double lines = static_cast<double>(job.projections);
  for (int64_t i = cuda::thread_index(); i < side.n; i += kThreads) {
    const double own = (cuda::load(side.dweights + from + i) - mean) / lines;
    cuda::store(side.to_weights + from + i, static_cast<A>(own));
  }
}

template <class A>
__global__ void __launch_bounds__(kThreads) emd1d_value_kernel(const __grid_constant__ Job<A> job) {
  const int64_t p = cuda::block_index() * kThreads + cuda::thread_index();
  if (p >= job.batch) return;
  double sum = job.first > 0 ? cuda::load(job.total + p) : 0;
  for (int64_t l = 0; l < job.lines; ++l) sum += cuda::load(job.value + p * job.lines + l);
  cuda::store(job.total + p, sum);
  if (job.first + job.lines == job.projections)
    cuda::store(job.out + p, static_cast<A>(sum * job.factor()));
}

}  // namespace surprisal::emd1d
