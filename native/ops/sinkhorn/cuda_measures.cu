// Before the iterations: masses, centres, scales and bad values of each problem, points
// centred and laid out for the passes. Reads and writes a few numbers a point, where each pass
// multiplies N M D. One block a problem where order matters.
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/sinkhorn/block_sums.h"

namespace surprisal::sinkhorn {
namespace {

using namespace cuda;

struct MeasureWork {
  Job job;
  Faults faults;
  Numbers label_cost;
  int32_t caller = 0;
  double allowed = 0;  // difference of masses, relative
  bool wide = false;   // accumulators are double
};

__device__ int64_t bits_of(double x) {
  int64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

class Measurer {
 public:
  __device__ Measurer(const MeasureWork& work, Sums& memory)
      : w_(work),
        job_(work.job),
        memory_(memory),
        problem_(block_index()),
        at_(load(work.job.places + block_index())) {}

  __device__ void run() {
    double mass[2] = {raw_mass(false), raw_mass(true)};
    double factor = 1;
    if (job_.balanced()) match(mass[0], mass[1]);
    for (int s = 0; s < 2; ++s) {
      // Marginals that must hold can only if the masses are equal: small differences are rounding.
      const double a = s ? mass[1] : mass[0];
      factor = job_.balanced() ? common_ / a : 1;
      write_weights(s, factor);
      if (s) {
        mass[1] *= factor;
      } else {
        mass[0] *= factor;
      }
    }
    double square = 0;
    if (job_.kind != Cost::matrix) square = boxes();
    const double labels = job_.labels ? label_range() : 0;
    square = block_sum(square, memory_);
    const double reach = job_.kind == Cost::cosine ? 1 : block_most(reach_, memory_);
    const double bad = block_sum(bad_, memory_), differs = block_sum(differs_, memory_);
    if (thread_index() > 0) return;
    // A large epsilon would make much of the rounding of the sums.
    if (std::fabs(mass[0] - 1) <= static_cast<double>(at_.n) * 0x1p-52) mass[0] = 1;
    if (std::fabs(mass[1] - 1) <= static_cast<double>(at_.m) * 0x1p-52) mass[1] = 1;
    Facts* facts = job_.facts + problem_;
    store(&facts->mass[0], mass[0]);
    store(&facts->mass[1], mass[1]);
    const double scale = labels + scale_of(square);
    store(&facts->scale, scale);
    set_precision(facts, scale);
    store(&facts->differs, uint32_t{differs > 0 || at_.n != at_.m});
    store(&facts->power, reach > 0 && reach < 1e300 ? 13 - std::ilogb(reach) : 0);
    if (bad > 0) atomic_or(&facts->bad, 1u);
  }

 private:
  __device__ int64_t told() const { return job_.batch > 1 ? problem_ : -1; }
  __device__ double weight(bool second, int64_t i) const {
    const Numbers& given = second ? job_.y.given : job_.x.given;
    const int64_t n = second ? at_.m : at_.n, start = second ? at_.y : at_.x;
    return given ? given[start + i] : 1 / static_cast<double>(n);
  }

  __device__ double raw_mass(bool second) {
    const int64_t n = second ? at_.m : at_.n, start = second ? at_.y : at_.x;
    double sum = 0, wrong = 0;
    for (int64_t i = thread_index(); i < n; i += kThreads) {
      const double w = weight(second, i);
      if (w >= 0 && w <= std::numeric_limits<double>::max()) {
        sum += w;
        continue;
      }
      report_fault(second ? w_.faults.weight[1] : w_.faults.weight[0], start + i, bits_of(w),
                   w_.caller, 0);
      wrong = 1;
    }
    const double mass = block_sum(sum, memory_);
    bad_ += wrong;
    if (!(mass > 0)) {
      if (thread_index() == 0)
        report_fault(second ? w_.faults.none[1] : w_.faults.none[0], problem_, 0, w_.caller,
                     told());
      bad_ += 1;
    }
    return mass;
  }
  __device__ void match(double a, double b) {
    const double larger = a > b ? a : b;
    if (!(std::fabs(a - b) <= w_.allowed * larger)) {
      if (thread_index() == 0)
        report_fault(w_.faults.masses, problem_, bits_of(a), bits_of(b),
                     w_.caller | (told() < 0 ? 8 : 0));
      bad_ += 1;
    }
    const bool unit = std::fabs(a - 1) <= w_.allowed && std::fabs(b - 1) <= w_.allowed;
    common_ = unit ? 1 : (a + b) / 2;
  }
  __device__ void write_weights(bool second, double factor) {
    const int64_t n = second ? at_.m : at_.n, start = second ? at_.y : at_.x;
    double* to = second ? job_.y.weight : job_.x.weight;
    double* log = second ? job_.y.log_weight : job_.x.log_weight;
    for (int64_t i = thread_index(); i < n; i += kThreads) {
      const double w = weight(second, i) * factor;
      store(to + start + i, w);
      store(log + start + i, std::log2(w));
      // Of x this thread has written the same one.
      if (second && i < at_.n && w != load(job_.x.weight + at_.x + i)) differs_ = 1;
    }
  }

  // Threads share the features, then the points: neighbours read neighbours.
  __device__ double boxes() {
    const int64_t depth = job_.width;
    const int features = depth < kThreads ? static_cast<int>(depth) : kThreads;
    const int groups = kThreads / features, own = thread_index() % features;
    const int group = thread_index() / features;
    double square = 0;
    for (int64_t first = 0; first < depth; first += features) {
      const int64_t k = first + own;
      const bool busy = group < groups && k < depth;
      double least = std::numeric_limits<double>::infinity(), most = -least, sum = 0;
      for (int s = 0; s < 2 && busy; ++s) {
        const Numbers& points = s ? job_.y.points : job_.x.points;
        const int64_t n = s ? at_.m : at_.n, start = s ? at_.y : at_.x;
        for (int64_t i = group; i < n; i += groups) {
          const double v = points[(start + i) * depth + k];
          if (!(std::fabs(v) <= std::numeric_limits<double>::max())) {
            report_fault(s ? w_.faults.points[1] : w_.faults.points[0], start + i, bits_of(v),
                         w_.caller, 0);
            bad_ = 1;
          }
          if (s && i < at_.n && v != job_.x.points[(at_.x + i) * depth + k]) differs_ = 1;
          least = v < least ? v : least;
          most = v > most ? v : most;
          sum += v;
        }
      }
      store(memory_.least + thread_index(), least);
      store(memory_.most + thread_index(), most);
      store(memory_.sum + thread_index(), sum);
      sync_threads();  // every group's part is there
      if (busy && group == 0) {
        for (int g = 1; g < groups; ++g) {
          const double lower = load(memory_.least + g * features + own);
          const double upper = load(memory_.most + g * features + own);
          least = lower < least ? lower : least;
          most = upper > most ? upper : most;
          sum += load(memory_.sum + g * features + own);
        }
        square += (most - least) * (most - least);
        write_feature(k, least, most, sum);
      }
      sync_threads();  // the parts have been read
    }
    return square;
  }
  __device__ void write_feature(int64_t k, double least, double most, double sum) {
    const int64_t place = problem_ * job_.width + k;
    store(job_.box + 2 * place, least);
    store(job_.box + 2 * place + 1, most);
    // A centre that the points' own type cannot hold would round all of them.
    const double mean = sum / static_cast<double>(at_.n + at_.m);
    double centre = w_.wide ? mean : static_cast<double>(static_cast<float>(mean));
    // Points of 16 bits that lie around 0 stay what they are, for products of one half.
    const bool near = 8 * std::fabs(mean) < most - least && size_of(job_.x.points.dtype) == 2;
    if (job_.kind == Cost::cosine || (job_.products && near)) centre = 0;
    store(job_.centre + place, centre);
    for (const double end : {most - centre, centre - least}) reach_ = end > reach_ ? end : reach_;
  }

  // Checks the labels too.
  __device__ double label_range() {
    for (int s = 0; s < 2; ++s) {
      const int32_t* label = s ? job_.y.label : job_.x.label;
      const int64_t n = s ? at_.m : at_.n, start = s ? at_.y : at_.x;
      for (int64_t i = thread_index(); i < n; i += kThreads) {
        const int32_t l = load(label + start + i);
        if (l >= 0 && l < job_.labels) continue;
        report_fault(s ? w_.faults.labels[1] : w_.faults.labels[0], start + i, l, w_.caller,
                     job_.labels);
        bad_ = 1;
      }
    }
    double most = 0;
    for (int64_t i = thread_index(); i < job_.labels * job_.labels; i += kThreads) {
      const double w = w_.label_cost[i];
      if (!(std::fabs(w) <= std::numeric_limits<double>::max())) {
        report_fault(w_.faults.label_cost, i, bits_of(w), w_.caller, 0);
        bad_ = 1;
      }
      most = std::fabs(w) > most ? std::fabs(w) : most;
    }
    return block_most(most, memory_);
  }

  __device__ double scale_of(double square) const {
    switch (job_.kind) {
      case Cost::half_square:
        return square;
      case Cost::distance:
        return std::sqrt(square);
      case Cost::cosine:
        return 2;
      default:
        return -from_ordered_bits(load(job_.range + 2 * problem_ + 1)) -
               from_ordered_bits(load(job_.range + 2 * problem_));
    }
  }

  // What precision_of in instance.cpp says.
  __device__ void set_precision(Facts* facts, double scale) const {
    double size = scale;
    if (job_.kind == Cost::matrix) {
      const double least = from_ordered_bits(load(job_.range + 2 * problem_));
      const double most = -from_ordered_bits(load(job_.range + 2 * problem_ + 1));
      size = most > -least ? most : -least;
    }
    double epsilon = job_.epsilon;
    for (const double lowest : {size * 0x1p-42, 0x1p-900})
      epsilon = epsilon > lowest ? epsilon : lowest;
    store(&facts->epsilon, epsilon);
    store(&facts->wide, uint32_t{w_.wide || size > epsilon * 0x1p13 * 1.4 || scale < epsilon / 4});
  }

  const MeasureWork& w_;
  const Job& job_;
  Sums& memory_;
  const int64_t problem_;
  const Place at_;
  double bad_ = 0, differs_ = 0, common_ = 1;
  double reach_ = 0;  // of centred coordinates
};

__global__ void __launch_bounds__(kThreads, 2)
    sinkhorn_measure_kernel(const __grid_constant__ MeasureWork work) {
  Measurer(work, shared<Sums>()).run();
}

constexpr int64_t kCostsEach = 4096;  // of a block

// The range of each given cost, and whether it is finite.
__global__ void __launch_bounds__(kThreads)
    sinkhorn_range_kernel(const __grid_constant__ MeasureWork work, int64_t pairs) {
  const Job& job = work.job;
  const int64_t blocks = ceil_div(pairs, kCostsEach), problem = block_index() / blocks;
  const int64_t first = block_index() % blocks * kCostsEach;
  const int64_t end = first + kCostsEach < pairs ? first + kCostsEach : pairs;
  const int64_t m = load(&job.places[problem].m);
  double least = std::numeric_limits<double>::infinity(), most = -least;
  bool bad = false;
  for (int64_t i = first + thread_index(); i < end; i += kThreads) {
    const double c = job.cost[problem * pairs + i];
    least = c < least ? c : least;
    most = c > most ? c : most;
    if (std::fabs(c) <= std::numeric_limits<double>::max()) continue;
    report_fault(work.faults.cost, problem * pairs + i, bits_of(c), m,
                 (pairs / m) << 4 | (job.batch > 1 ? 8 : 0) | work.caller);
    bad = true;
  }
  if (bad) atomic_or(&job.facts[problem].bad, 1u);
  least = -warp_max(-least);
  most = warp_max(most);
  if (lane_index() > 0 || !(least <= most)) return;
  atomic_min(job.range + 2 * problem, ordered_bits(least));
  atomic_min(job.range + 2 * problem + 1, ordered_bits(-most));
}

// Of the box around all points.
__global__ void __launch_bounds__(kThreads)
    sinkhorn_diameter_kernel(const __grid_constant__ MeasureWork work) {
  const Job& job = work.job;
  auto& memory = shared<Sums>();
  double square = 0;
  for (int64_t k = thread_index(); k < job.width; k += kThreads) {
    double least = std::numeric_limits<double>::infinity(), most = -least;
    for (int64_t p = 0; p < job.batch; ++p) {
      const double lower = load(job.box + 2 * (p * job.width + k));
      const double upper = load(job.box + 2 * (p * job.width + k) + 1);
      least = lower < least ? lower : least;
      most = upper > most ? upper : most;
    }
    square += (most - least) * (most - least);
  }
  square = block_sum(square, memory);
  const double diameter = std::sqrt(square);
  if (thread_index() == 0) store(job.diameter, diameter);
  const double steps = geomloss_steps(job.power, job.scaling, job.epsilon, diameter);
  if (!(steps > static_cast<double>(job.max_iterations))) return;
  for (int64_t p = thread_index(); p < job.batch; p += kThreads) atomic_or(&job.facts[p].bad, 1u);
  if (thread_index() == 0)
    report_fault(work.faults.schedule, 0, bits_of(steps), work.caller, job.max_iterations);
}

__global__ void __launch_bounds__(kThreads)
    sinkhorn_labels_kernel(const __grid_constant__ MeasureWork work) {
  const int64_t v = work.job.labels, i = block_index() * kThreads + thread_index();
  if (i >= v * v) return;
  const double w = work.label_cost[i], t = work.label_cost[i % v * v + i / v];
  store(work.job.label_cost_wide + i, w);
  store(work.job.label_cost_wide + v * v + i, (w + t) / 2);
  if (work.wide) return;
  store(work.job.label_cost + i, static_cast<float>(w));
  store(work.job.label_cost + v * v + i, static_cast<float>((w + t) / 2));
}

}  // namespace

void measure(const Problem& op, const Job& job, bool wide, Stream& stream) {
  MeasureWork work;
  work.job = job;
  work.label_cost = op.label_cost;
  work.caller = op.caller;
  work.wide = wide;
  const auto narrow = [](const View& v) { return v && size_of(v.dtype) == 2; };
  work.allowed = narrow(op.a) || narrow(op.b) ? 2e-2 : 1e-4;
  work.faults = faults_of(stream);
  constexpr int64_t kShared = sizeof(Sums);
  stream.fill_bytes(job.facts, 0, job.batch * int64_t{sizeof(Facts)});
  if (job.kind == Cost::matrix) {
    stream.fill_bytes(job.range, 0xff, job.batch * 2 * int64_t{sizeof(uint64_t)});
    const int64_t pairs = job.batch ? op.cost.size / job.batch : 0;
    launch(stream, sinkhorn_range_kernel, {job.batch * ceil_div(pairs, kCostsEach), kThreads}, work,
           pairs);
  }
  launch(stream, sinkhorn_measure_kernel, {job.batch, kThreads, kShared}, work);
  if (job.geomloss) launch(stream, sinkhorn_diameter_kernel, {1, kThreads, kShared}, work);
  if (job.labels)
    launch(stream, sinkhorn_labels_kernel, {ceil_div(job.labels * job.labels, kThreads), kThreads},
           work);
  place_points(job, stream);
}

}  // namespace surprisal::sinkhorn
