// After the iterations: values, infos, potentials, gradients in weights and points. A few numbers a
// point.
#include <cmath>
#include <limits>

#include "ops/sinkhorn/block_sums.h"

namespace surprisal::sinkhorn {
namespace {

using namespace cuda;

// What the terms of a problem make together.
__global__ void __launch_bounds__(kThreads)
    sinkhorn_finish_kernel(const __grid_constant__ FinishWork work) {
  const Job& job = work.job;
  const int64_t problem = block_index();
  const Place at = load(job.places + problem);
  const Facts facts = load(job.facts + problem);
  const bool zero = job.cancels() && !facts.differs, none = zero || facts.bad;
  const double missing = facts.bad ? std::numeric_limits<double>::quiet_NaN() : 0;
  const int terms = job.debias ? 3 : 1;
  if (none) {
    for (int t = 0; t < terms + 1; ++t) {
      const Term term = t < 2 ? Term::cross : t == 2 ? Term::self_x : Term::self_y;
      const bool second = t == 1 || t == 3;
      if (t >= 2 && !job.debias) break;
      double* kept = kept_of(job, at, term, second);
      for (int64_t i = thread_index(); i < kKept * (second ? at.m : at.n); i += kThreads)
        store(kept + i, missing);
    }
  }
  // f and g are copies: a thread reads what it may just have written.
  const double *f = kept_of(job, at, Term::cross, false), *g = kept_of(job, at, Term::cross, true);
  for (int64_t i = thread_index(); work.f && i < at.n; i += kThreads)
    work.f.set(at.x + i, load(f + i));
  for (int64_t j = thread_index(); work.g && j < at.m; j += kThreads)
    work.g.set(at.y + j, load(g + j));
  if (thread_index() > 0) return;
  Outcome out;
  out.value = missing;
  if (!none) {
    out = load(work.outcomes + 3 * problem);
    for (int t = 1; t < terms; ++t) {
      const Outcome own = load(work.outcomes + 3 * problem + t);
      out.value -= own.value / 2;
      out.iterations = own.iterations > out.iterations ? own.iterations : out.iterations;
      out.error = own.error > out.error ? own.error : out.error;
      out.converged = out.converged != 0 && own.converged != 0;
    }
    if (facts.epsilon != job.epsilon) out.converged = 0;
    const double more = facts.mass[0] - facts.mass[1];
    const bool counted = job.geomloss && (job.x.rho >= 0) == (job.y.rho >= 0);
    if (job.debias && !counted) out.value += facts.epsilon / 2 * more * more;
  }
  work.value.set(problem, out.value);
  store(work.info + 3 * problem, out.iterations);
  store(work.info + 3 * problem + 1, out.error);
  store(work.info + 3 * problem + 2, out.converged);
}

// d/da_i of the term of a measure with one of mass `other`: see backward.h.
__device__ double weight_slope(double rho, double epsilon, double other, double f) {
  if (rho >= 0) return -(rho + epsilon) * std::expm1(-f / rho) + epsilon * (other - 1);
  return f - epsilon * (1 - other);
}

__global__ void __launch_bounds__(kThreads, 1)
    sinkhorn_weights_kernel(const __grid_constant__ WeightWork work) {
  auto& memory = shared<Sums>();
  const Job& job = work.job;
  const bool second = block_index() >= job.batch;
  const NumbersOut to = second ? work.db : work.da;
  if (!to) return;
  const int64_t problem = second ? block_index() - job.batch : block_index();
  const Place at = load(job.places + problem);
  const Facts facts = load(job.facts + problem);
  const int64_t n = second ? at.m : at.n, start = second ? at.y : at.x;
  const double rho = second ? job.y.rho : job.x.rho, upstream = work.upstream[problem];
  const double own = second ? facts.mass[1] : facts.mass[0];
  const double other = second ? facts.mass[0] : facts.mass[1];
  const double* weight = (second ? job.y.weight : job.x.weight) + start;
  const double* cross = kept_of(job, at, Term::cross, second);
  const double* self = kept_of(job, at, second ? Term::self_y : Term::self_x, second);
  const bool zero = job.cancels() && !facts.differs;
  const auto slope = [&](int64_t i) {
    double s = weight_slope(rho, facts.epsilon, other, load(cross + i));
    if (job.debias)
      s += facts.epsilon * (own - other) - weight_slope(rho, facts.epsilon, own, load(self + i));
    return zero ? 0 : s;
  };
  double mean = 0;
  for (int64_t i = thread_index(); i < n; i += kThreads) mean += load(weight + i) * slope(i);
  mean = block_sum(mean, memory);
  mean = job.balanced() ? mean / own : 0;
  for (int64_t i = thread_index(); i < n; i += kThreads)
    to.set(start + i, upstream * (slope(i) - mean));
}

__global__ void __launch_bounds__(kThreads)
    sinkhorn_points_kernel(const __grid_constant__ PointWork work) {
  const Job& job = work.job;
  const DeviceSide& side = work.second ? job.y : job.x;
  const int64_t i = block_index() * kThreads + thread_index(), depth = job.width;
  if (i >= side.count) return;
  const double* sums = work.sums + i * depth;
  double square = 0, along = 0;
  const bool cosine = job.kind == Cost::cosine;
  for (int64_t k = 0; k < depth && cosine; ++k) {
    const double v = side.points[i * depth + k];
    square += v * v;
    along += v * load(sums + k);
  }
  for (int64_t k = 0; k < depth; ++k) {
    double g = load(sums + k);
    // Of the direction x/|x|, made one of x itself.
    if (cosine)
      g = square > 0 ? (g - side.points[i * depth + k] * along / square) / std::sqrt(square) : 0;
    work.out.set(i * depth + k, g);
  }
}

// A thread has a pair of labels, and looks at all rows.
__global__ void __launch_bounds__(kThreads)
    sinkhorn_bins_kernel(const __grid_constant__ BinWork work) {
  const Job& job = work.rows.job;
  const int64_t t = block_index() * kThreads + thread_index();
  if (t >= job.labels * work.width) return;
  const int64_t l = t / work.width, f = t % work.width;
  const bool second = work.rows.term == Term::self_y;
  const int32_t* label = second ? job.y.label : job.x.label;
  double* bin = work.bins + l * job.labels + work.first + f;
  double sum = load(bin);
  for (int64_t p = 0; p < job.batch; ++p) {
    if (!counts(job, p)) continue;
    const double factor = work.factor * work.rows.upstream[p];  // a call: little lives across it
    const Place at = load(job.places + p);
    const int64_t begin = second ? at.y : at.x, end = begin + (second ? at.m : at.n);
    for (int64_t i = begin; i < end; ++i)
      if (load(label + i) == l) sum += factor * load(work.masses + i * work.width + f);
  }
  store(bin, sum);
}

__global__ void __launch_bounds__(kThreads)
    sinkhorn_write_bins_kernel(const double* bins, int64_t count, NumbersOut out) {
  const int64_t i = block_index() * kThreads + thread_index();
  if (i < count) out.set(i, load(bins + i));
}

}  // namespace

void finish(const FinishWork& work, Stream& stream) {
  launch(stream, sinkhorn_finish_kernel, {work.job.batch, kThreads}, work);
}

void weight_gradients(const WeightWork& work, Stream& stream) {
  launch(stream, sinkhorn_weights_kernel, {2 * work.job.batch, kThreads, int64_t{sizeof(Sums)}},
         work);
}

void write_points(const PointWork& work, Stream& stream) {
  const int64_t count = work.second ? work.job.y.count : work.job.x.count;
  launch(stream, sinkhorn_points_kernel, {ceil_div(count, kThreads), kThreads}, work);
}

void add_bins(const BinWork& work, Stream& stream) {
  const int64_t count = work.rows.job.labels * work.width;
  launch(stream, sinkhorn_bins_kernel, {ceil_div(count, kThreads), kThreads}, work);
}

void write_bins(const double* bins, int64_t count, NumbersOut out, Stream& stream) {
  launch(stream, sinkhorn_write_bins_kernel, {ceil_div(count, kThreads), kThreads}, bins, count,
         out);
}

}  // namespace surprisal::sinkhorn
