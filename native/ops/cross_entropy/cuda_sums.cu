// Sums over rows and classes, and what is made from them; see device_sums.h. Bytes: a few a row.
#include "cuda/launch.h"
#include "cuda/row_team.h"
#include "ops/cross_entropy/check.h"
#include "ops/cross_entropy/device_sums.h"

namespace surprisal::cross_entropy {
namespace {

using namespace cuda;

constexpr int kThreads = 256;
constexpr int64_t kSegment = 8192;  // rows, and classes, of a block: fixed, and so is every sum

inline __device__ int64_t bits_of_double(double x) {
  int64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline __device__ void add_totals(Totals& into, const Totals& from) {
  into.denominator += from.denominator;
  into.classes += from.classes;
  into.loss += from.loss;
}

inline __device__ void write_totals(const SumWork& work, const Totals& totals) {
  store(work.totals, totals);
  if (!work.loss.data) return;
  const bool mean = work.about.reduction == Reduction::mean;
  const double none = std::numeric_limits<double>::quiet_NaN();
  work.loss.set(0, !mean                     ? totals.loss
                   : totals.denominator == 0 ? none
                                             : totals.loss / totals.denominator);
}

__global__ void __launch_bounds__(kThreads) cross_entropy_sum_kernel(SumWork work) {
  const RowContext& about = work.about;
  const int64_t begin = block_index() * kSegment + thread_index();
  const int64_t end = (block_index() + 1) * kSegment;
  Totals sum{};
  for (int64_t row = begin; row < (end < about.rows ? end : about.rows); row += block_size()) {
    const double tokens = about.token_weight.weight(row);
    if (work.check_tokens && std::isnan(tokens)) report_fault(work.token_fault, row, 0, 0, 0);
    sum.denominator += about.weight_of(row);
    if (work.losses && !about.targets.ignored(about.targets[row]))
      sum.loss += tokens * load(&about.stats[row].loss);
  }
  for (int64_t c = begin; c < (end < work.classes ? end : work.classes); c += block_size()) {
    const double w = about.class_weight[c];
    if (!(w >= 0)) report_fault(work.class_fault, c, bits_of_double(w), 0, 0);
    if (work.widened.data) work.widened.set(c, w);
    sum.classes += w;
  }
  auto* memory = &shared<TeamMemory<Totals, Totals>>();
  BlockTeam<Totals, Totals> team(memory, 1);
  team.finish(sum, add_totals, [&](const Totals& all, bool leader) {
    if (!leader) return all;
    if (work.blocks > 1) {
      store(work.partial + block_index(), all);
    } else {
      write_totals(work, all);
    }
    return all;
  });
}

// The segments' sums, in their order within each thread.
__global__ void __launch_bounds__(kThreads) cross_entropy_sum_merge_kernel(SumWork work) {
  Totals sum{};
  for (int64_t b = thread_index(); b < work.blocks; b += block_size())
    add_totals(sum, load(work.partial + b));
  auto* memory = &shared<TeamMemory<Totals, Totals>>();
  BlockTeam<Totals, Totals> team(memory, 1);
  team.finish(sum, add_totals, [&](const Totals& all, bool leader) {
    if (leader) write_totals(work, all);
    return all;
  });
}

__global__ void __launch_bounds__(kThreads)
    cross_entropy_tokens_kernel(RowContext about, NumbersOut out) {
  const int64_t row = block_index() * block_size() + thread_index();
  if (row >= about.rows) return;
  const int64_t y = about.targets[row];
  double slope = 0;
  if (!about.targets.ignored(y)) {
    const double scale = about.scale_of(row);
    if (scale != 0) {
      double average = 0;
      if (about.reduction == Reduction::mean)
        average = load(&about.totals->loss) / load(&about.totals->denominator);
      const double share = about.targets.soft() ? 1 : about.class_weight.weight(y);
      slope = scale * (load(&about.stats[row].loss) - share * average);
    }
  }
  out.set(row, slope);
}

// --- upstream x gradient -------------------------------------------------------------------------

template <class T>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_scale_kernel(const T* grad, T* out, int64_t n, Numbers upstream) {
  using Real = accumulator_t<T>;
  constexpr int kAtOnce = 4;
  const Real factor = static_cast<Real>(upstream[0]);
  if (out == grad && factor == 1) return;
  const RowPart<T> all =
      row_part(grad, 1, n, 0, static_cast<int>(block_index()), static_cast<int>(grid_size()));
  for (int base = thread_index(); base < all.slots(); base += kThreads * kAtOnce) {
    Slot raw[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int slot = base + k * kThreads;
      // Another block may be writing the rest of an edge.
      if (slot < all.slots())
        raw[k] = all.whole(slot) ? load_slot(all, slot) : load_elements(all, slot);
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int slot = base + k * kThreads;
      if (slot >= all.slots()) continue;
      Real x[kPack<T>];
      widen<T>(raw[k], x);
      // Rows of NaN have no gradient either where the upstream gradient is 0.
#pragma unroll
      for (int j = 0; j < kPack<T>; ++j) x[j] = factor == 0 ? Real(0) : x[j] * factor;
      store_slot(out, all, slot, x);
    }
  }
}

}  // namespace

void sum(SumWork work, Stream& stream) {
  const int64_t most = std::max(work.about.rows, work.classes);
  work.blocks = std::max<int64_t>(1, (most + kSegment - 1) / kSegment);
  const int64_t shared = sizeof(TeamMemory<Totals, Totals>);
  if (work.blocks > 1) work.partial = stream.scratch<Totals>(work.blocks);
  launch(stream, cross_entropy_sum_kernel, {work.blocks, kThreads, shared}, work);
  if (work.blocks > 1) launch(stream, cross_entropy_sum_merge_kernel, {1, kThreads, shared}, work);
}

void token_gradient(const RowContext& about, NumbersOut out, Stream& stream) {
  launch(stream, cross_entropy_tokens_kernel, {(about.rows + kThreads - 1) / kThreads, kThreads},
         about, out);
}

void scale_cuda(const Scale& op, Stream& stream) {
  check(op);
  visit_float(op.grad.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr int64_t kEach = kThreads * 4 * kPack<T>;
    launch(stream, cross_entropy_scale_kernel<T>, {(op.grad.size + kEach - 1) / kEach, kThreads},
           op.grad.as<T>(), op.out.as<T>(), op.grad.size, Numbers(op.upstream));
  });
}

}  // namespace surprisal::cross_entropy
