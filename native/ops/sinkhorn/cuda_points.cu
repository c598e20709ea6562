// Points as the passes take them: centred (or of length 1), a feature after the other, with what is
// additive of the cost; for tensor cores as halves too. A few numbers a point and feature.
#include <cmath>

#include "ops/sinkhorn/device.h"

namespace surprisal::sinkhorn {
namespace {

using namespace cuda;

constexpr int kThreads = 256;

// The problem of point i.
__device__ int64_t problem_of(const Job& job, bool second, int64_t i) {
  int64_t low = 0, high = job.batch - 1;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    const int64_t start = second ? load(&job.places[middle].y) : load(&job.places[middle].x);
    if (start <= i) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// A number below 2^14 as the sum of two of 11 bits each, see products_device.h.
struct TwoHalves {
  Float16 high, low;
  __device__ explicit TwoHalves(float x)
      : high(to_float16(x)), low(to_float16(x - to_float(high))) {}
};

// Point i of a side, of this problem: centred, or of length 1, as accumulators.
template <class A>
__device__ inline void place_point(const Job& job, const DeviceSide& side, int64_t i,
                                   int64_t problem) {
  const int64_t depth = job.width;
  const double* centre = job.centre + problem * depth;
  A* to = in_type<A>(side.centred, side.centred_wide) + i;
  const double grow = job.products ? std::exp2(double(load(&job.facts[problem].power))) : 0;
  const auto as_held = [&](double v) {
    if (std::is_same_v<A, double> || !job.products) return static_cast<A>(v);
    const TwoHalves halves(static_cast<float>(v * grow));
    return static_cast<A>((double(to_float(halves.high)) + to_float(halves.low)) / grow);
  };
  const bool cosine = job.kind == Cost::cosine;
  double square = 0;
  for (int64_t k = 0; k < depth; ++k) {
    const double v = side.points[i * depth + k] - load(centre + k);
    const A own = as_held(v);
    square += cosine ? v * v : static_cast<double>(own) * own;
    store(to + k * side.count, own);
  }
  // 1 - cos: half of the 1 is each side's.
  store(side.shift + i, cosine ? 0.5 : job.kind == Cost::half_square ? square / 2 : 0);
  if (!cosine) return;
  const double inverse = square > 0 ? 1 / std::sqrt(square) : 0;
  for (int64_t k = 0; k < depth; ++k)
    store(to + k * side.count, as_held(side.points[i * depth + k] * inverse));
}

__global__ void __launch_bounds__(kThreads) sinkhorn_place_kernel(const __grid_constant__ Job job) {
  const int64_t point = block_index() * kThreads + thread_index();
  if (point >= job.x.count + job.y.count) return;
  const bool second = point >= job.x.count;
  const DeviceSide& side = second ? job.y : job.x;
  const int64_t i = second ? point - job.x.count : point;
  if (job.kind == Cost::matrix) return store(side.shift + i, 0.0);
  const int64_t problem = problem_of(job, second, i);
  load(&job.facts[problem].wide) ? place_point<double>(job, side, i, problem)
                                 : place_point<float>(job, side, i, problem);
}

constexpr int kHalvesEach = 8;  // features of a thread

// The same numbers as halves; neighbours have neighbouring points.
__global__ void __launch_bounds__(kThreads)
    sinkhorn_halves_kernel(const __grid_constant__ Job job, bool second) {
  const DeviceSide& side = second ? job.y : job.x;
  const int64_t stride = halves_of(job.width), t = block_index() * kThreads + thread_index();
  const int64_t i = t % side.count, first = t / side.count * kHalvesEach;
  if (2 * first >= stride) return;
  Facts* facts = job.facts + problem_of(job, second, i);
  if (load(&facts->wide)) return;
  const double grow = std::exp2(double(load(&facts->power)));
  Pack<Float16, kHalvesEach> high, low;
  bool has_low = false;
#pragma unroll
  for (int e = 0; e < kHalvesEach; ++e) {
    const int64_t k = first + e;
    float x = 0;
    if (k < job.width) x = load(side.centred + k * side.count + i);
    const TwoHalves halves(static_cast<float>(x * grow));
    high.at[e] = halves.high;
    low.at[e] = halves.low;
    has_low = has_low || to_float(halves.low) != 0;
  }
  Float16* to = side.halves + i * stride + first / 16 * 32 + first % 16;
  store(reinterpret_cast<Pack<Float16, kHalvesEach>*>(to), high);
  store(reinterpret_cast<Pack<Float16, kHalvesEach>*>(to + 16), low);
  if (has_low) atomic_or(&facts->low, 1u);
}

}  // namespace

void place_points(const Job& job, Stream& stream) {
  const Shape points{ceil_div(job.x.count + job.y.count, kThreads), kThreads};
  launch(stream, sinkhorn_place_kernel, points, job);
  if (!job.x.halves) return;
  for (const bool second : {false, true}) {
    const int64_t count = (second ? job.y.count : job.x.count) * halves_of(job.width) / 2;
    launch(stream, sinkhorn_halves_kernel, {ceil_div(count / kHalvesEach, kThreads), kThreads}, job,
           second);
  }
}

}  // namespace surprisal::sinkhorn
