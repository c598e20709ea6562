// Cross-entropy of rows of logits on CUDA; the contract is op.h's, the formulas core/row_loss.h's.
// Floor: forward reads N V elements, forward with gradient reads them once and writes them once.
// rows_in_registers: rows to 6 KiB, 8 or 32 lanes each. rows_in_shared: a block a row to 72 KiB, a
//   cluster of 2, 4 or 8 (sm_90) to 1.8 MB. split: longer rows, and above 163 KiB on sm_80: sums of
//   parts, then the gradient by a second read. Backward has the sums and reads once, writes once.
// 16-byte cp.async into slots that belong to one thread, not bulk copies: no alignment is asked of
//   a row, no barrier between copy and use (rows that shift: of the warp), and a slot's next row is
//   asked for as soon as it is free.
// bf16 at 3.1 TB/s: 6.7 elements a clock and SM. Forward takes ~8 instructions an element (unpack,
//   max, subtract, scale, ex2, add; two for masks and loop) of 19 that there are, one MUFU of 2.4;
//   with the gradient ~15 of 38. 512-768 threads and 128-192 KiB of rows an SM hide the reduction.
#include "core/scratch.h"
#include "cuda/launch.h"
#include "ops/cross_entropy/check.h"
#include "ops/cross_entropy/device_terms.h"
#include "ops/cross_entropy/plan.h"

namespace surprisal::cross_entropy {
namespace {

using namespace cuda;

static_assert(kChunks == kChunksOfSlots, "plan.h knows row_pass.h");
constexpr int kThreads = 256;

// --- rows: sums, loss and gradient in one pass over memory ---------------------------------------

template <int Lanes, int Slots, class Rows>
__global__ void __launch_bounds__(kThreads, 2)
    cross_entropy_registers_kernel(const __grid_constant__ Rows rows) {
  if (rows.unless_one && rows.about.upstream[0] == 1) return;
  rows_in_registers<Lanes, Slots>(rows);
}

// Rows that no warp can hold. What has more to remember keeps two blocks a multiprocessor.
template <class Rows>
__global__ void __launch_bounds__(kThreads, Rows::kPlain ? 3 : 2)
    cross_entropy_shared_kernel(const __grid_constant__ Rows rows, const SharedRows work) {
  if (rows.unless_one && rows.about.upstream[0] == 1) return;
  rows_in_shared(rows, work);
}

// The states of the parts of rows that no cluster can hold, in their order.
template <class Rows>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_merge_kernel(const __grid_constant__ Rows rows) {
  const int64_t row = block_index() * block_size() + thread_index();
  if (row >= rows.rows) return;
  const typename Rows::Context context = rows.begin(row, {});
  typename Rows::State state = rows.start();
  for (int p = 0; p < rows.parts.count; ++p)
    rows.merge(state, load(rows.parts.states + row * rows.parts.count + p));
  rows.finish_sums(context, state, true);
}

// --- gradients of probabilities and of token weights ---------------------------------------------

// d row/d t = scale w (lse - z): what a probability's own logarithm costs.
template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    cross_entropy_target_kernel(GeneralRows<T> rows, NumbersOut out, GradientPlan plan) {
  using Real = accumulator_t<T>;
  constexpr int E = kPack<T>;
  const RowContext& about = rows.about;
  const int64_t unit = block_index() * (block_size() / plan.lanes) + thread_index() / plan.lanes;
  if (unit >= rows.rows * plan.parts) return;
  const int64_t row = unit / plan.parts;
  const RowPart<T> part = row_part(rows.input, rows.rows, rows.columns, row,
                                   static_cast<int>(unit - row * plan.parts), plan.parts);
  const DeviceStats stats = load(about.stats + row);
  const double up = about.scale_of(row);
  const Real scale =
      static_cast<Real>(up * about.token_weight_of(row) * (1 - about.options.label_smoothing));
  const Real log_sum = static_cast<Real>(row_math::log1p(stats.others));
  const Real max = static_cast<Real>(stats.max), k = static_cast<Real>(about.k);
  for (int slot = thread_index() % plan.lanes; slot < part.slots(); slot += plan.lanes) {
    Real x[E], w[E];
    widen<T>(load_slot(part, slot), x);
    rows.template class_weights<true>(part, slot, w);
#pragma unroll
    for (int j = 0; j < E; ++j) {
      const Real surprisal = log_sum - (map_element(about.map, x[j]) - max) * k;
      // Without weight 0, also where the surprisal is infinite; in a row of NaN `log_sum` is NaN.
      x[j] = up == 0 ? Real(0) : w[j] == 0 ? 0 * log_sum : scale * w[j] * surprisal;
    }
    const int64_t at = row * rows.columns + part.column + int64_t(slot) * E;
    if (out.dtype == DTypeOf<T>::value) {
      store_slot(static_cast<T*>(out.data) + row * rows.columns, part, slot, x);
      continue;
    }
#pragma unroll
    for (int j = 0; j < E; ++j) {
      const int i = slot * E + j;
      if (i >= part.begin && i < part.end) out.set(at + j, x[j]);
    }
  }
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
      const double share = about.targets.soft() ? 1 : about.class_weight_of(y);
      slope = scale * (load(&about.stats[row].loss) - share * average);
    }
  }
  out.set(row, slope);
}

// --- sums over rows and classes ------------------------------------------------------------------

constexpr int64_t kSegment = 8192;  // rows, and classes, of a block: fixed, and so is every sum

struct SumWork {
  RowContext about;
  int64_t classes = 0;  // whose weights are summed and checked; 0: not asked for
  bool losses = false;  // of rows too
  bool check_tokens = false;
  FaultSite class_fault{}, token_fault{};
  NumbersOut widened;         // (classes), may be absent
  Totals* partial = nullptr;  // (blocks)
  int64_t blocks = 1;
  Totals* totals = nullptr;
  NumbersOut loss;  // (1), the reduction of the losses, may be absent
};

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
    const double tokens = about.token_weight_of(row);
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

// --- launches ------------------------------------------------------------------------------------

void raise_target(const Fault& f) { refuse_target(f.value, f.row, f.a, f.b); }
void raise_class(const Fault& f) {
  double value;
  std::memcpy(&value, &f.value, sizeof value);
  refuse_class_weight(value, f.row);
}
void raise_token(const Fault& f) { refuse_token_weight(f.row); }

Numbers numbers(const View& view) { return {view.data, view.dtype}; }

RowContext context_of(const Problem& op) {
  RowContext c;
  c.targets.data = op.target.data;
  c.targets.dtype = op.target.dtype;
  c.targets.classes = op.classes;
  c.targets.ignore = op.ignore_index;
  c.class_weight = numbers(op.class_weight);
  c.token_weight = numbers(op.token_weight);
  c.rows = op.rows;
  c.classes = op.classes;
  c.reduction = static_cast<Reduction>(op.reduction);
  c.options = {op.label_smoothing, op.z_loss, static_cast<Epilogue>(op.epilogue), op.epilogue_k};
  c.map = logit_map(op.temperature, op.softcap, op.cap_first);
  c.k = c.map.capped ? 1 : c.map.in;
  return c;
}

bool weighted(const Problem& op) { return is_float(op.target.dtype) || op.label_smoothing != 0; }
bool plain(const Problem& op) {
  return !weighted(op) && !(op.softcap > 0) && op.logits.dtype != DType::f64;
}

// Sums over rows and classes into work.totals; checks weights where asked to.
void sum(SumWork work, Stream& stream) {
  const int64_t most = std::max(work.about.rows, work.classes);
  work.blocks = std::max<int64_t>(1, (most + kSegment - 1) / kSegment);
  const int64_t shared = sizeof(TeamMemory<Totals, Totals>);
  if (work.blocks > 1) work.partial = stream.scratch<Totals>(work.blocks);
  launch(stream, cross_entropy_sum_kernel, {work.blocks, kThreads, shared}, work);
  if (work.blocks > 1) launch(stream, cross_entropy_sum_merge_kernel, {1, kThreads, shared}, work);
}

// Where class weights are part of every element's sum they are widened to the type of the sums.
NumbersOut widened_classes(const Problem& op, Stream& stream) {
  if (!op.class_weight || !weighted(op)) return {};
  if (op.logits.dtype == DType::f64) return {stream.scratch<double>(op.classes), DType::f64};
  return {stream.scratch<float>(op.classes), DType::f32};
}

PlanShape shape_of(const Problem& op, const Stream& stream) {
  const Properties& device = stream.properties();
  PlanShape s;
  s.rows = op.rows;
  s.columns = op.classes;
  s.dtype = op.logits.dtype;
  s.plain = plain(op);
  s.processors = device.processors;
  s.clusters = device.has_clusters();
  s.shared = device.shared;
  s.shared_per_sm = device.shared_per_sm;
  return s;
}

template <class Rows>
Rows rows_of(const Problem& op, const RowContext& about, void* grad, const void* classes) {
  using T = typename Rows::Element;
  Rows rows;
  rows.input = op.logits.as<T>();
  rows.output = static_cast<T*>(grad);
  rows.rows = op.rows;
  rows.columns = op.classes;
  rows.about = about;
  if constexpr (!Rows::kPlain) {
    rows.weighted = weighted(op);
    rows.share = static_cast<typename Rows::Real>(1 - op.label_smoothing);
    rows.even = static_cast<typename Rows::Real>(op.label_smoothing / double(op.classes));
    rows.class_weight = static_cast<const typename Rows::Real*>(classes);
  }
  return rows;
}

// Calls f with the kind of rows that the problem has.
template <class F>
void with_rows(const Problem& op, const RowContext& about, void* grad, const void* classes, F&& f) {
  visit_float(op.logits.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (!std::is_same_v<T, double>)
      if (plain(op)) return f(rows_of<PlainRows<T>>(op, about, grad, classes));
    f(rows_of<GeneralRows<T>>(op, about, grad, classes));
  });
}

template <class Rows>
void launch_shared(const Rows& rows, const Plan& plan, Stream& stream) {
  static_assert(shared_bytes_of_team<Rows>() <= kTeamBytes, "plan.h counts on it");
  const SharedRows work{plan.cluster, plan.parts, plan.rows_each, plan.slots_each / kChunks};
  const int64_t units = rows.rows * plan.parts;
  const int64_t blocks = (units + plan.rows_each - 1) / plan.rows_each * plan.cluster;
  launch(stream, cross_entropy_shared_kernel<Rows>,
         {blocks, plan.threads, shared_bytes<Rows>(plan.shared / 16), plan.cluster}, rows, work);
}

// Parts, their merge, and the gradient by a second read.
template <class Rows>
void launch_split(Rows rows, const Plan& plan, Stream& stream) {
  auto* const output = rows.output;
  if (!rows.saved) {
    rows.parts.count = plan.parts;
    rows.parts.states = stream.scratch<typename Rows::State>(rows.rows * plan.parts);
    rows.output = nullptr;
    launch_shared(rows, plan, stream);
    launch(stream, cross_entropy_merge_kernel<Rows>,
           {(rows.rows + kThreads - 1) / kThreads, kThreads}, rows);
  }
  if (!output) return;
  rows.output = output;
  rows.saved = true;
  launch_shared(rows, plan, stream);
}

template <class Rows>
void launch_rows(const Rows& rows, const PlanShape& shape, Stream& stream) {
  const Plan plan = plan_rows(shape);
  if (plan.storage == Storage::split) return launch_split(rows, plan, stream);
  if (plan.storage == Storage::shared) return launch_shared(rows, plan, stream);
  if constexpr (Rows::kPlain) {
    const int64_t each = plan.threads / plan.lanes;
    const Shape grid{(rows.rows + each - 1) / each, plan.threads};
    constexpr int kMost = most_slots_each(sizeof(typename Rows::Element));
    if (plan.lanes == 8)
      return launch(stream, cross_entropy_registers_kernel<8, 4, Rows>, grid, rows);
    if (plan.slots_each == 4)
      return launch(stream, cross_entropy_registers_kernel<32, 4, Rows>, grid, rows);
    launch(stream, cross_entropy_registers_kernel<32, kMost, Rows>, grid, rows);
  }
}

}  // namespace

void forward_cuda(const Forward& op, Stream& stream) {
  check(op);
  RowContext about = context_of(op);
  // Sites in the order in which the CPU form looks at values: the first fault is the one raised.
  if (!about.targets.soft()) about.targets.fault = stream.fault_site(raise_target);
  auto* totals = stream.scratch<Totals>(2);
  about.totals = totals;
  SumWork before;
  before.totals = totals;
  before.classes = op.class_weight ? op.classes : 0;
  before.check_tokens = bool(op.token_weight);
  if (op.class_weight) before.class_fault = stream.fault_site(raise_class);
  if (op.token_weight) before.token_fault = stream.fault_site(raise_token);
  before.widened = widened_classes(op, stream);
  before.about = about;
  const bool mean = about.reduction == Reduction::mean;
  if (op.class_weight || op.token_weight || (mean && op.grad_logits)) sum(before, stream);

  if (op.row_stats || reduced(op)) {
    about.stats = op.row_stats ? reinterpret_cast<DeviceStats*>(op.row_stats.as<double>())
                               : stream.scratch<DeviceStats>(op.rows);
  }
  if (!reduced(op)) about.loss = {op.loss.data, op.loss.dtype};
  const PlanShape shape = shape_of(op, stream);
  if (!about.stats && op.grad_logits && plan_rows(shape).storage == Storage::split)
    about.stats = stream.scratch<DeviceStats>(op.rows);
  with_rows(op, about, op.grad_logits.data, before.widened.data,
            [&](const auto& rows) { launch_rows(rows, shape, stream); });
  if (!reduced(op)) return;
  SumWork after;
  after.about = about;
  after.losses = true;
  after.totals = totals + 1;
  after.loss = {op.loss.data, op.loss.dtype};
  sum(after, stream);
}

void backward_cuda(const Backward& op, Stream& stream) {
  check(op);
  RowContext about = context_of(op);
  about.stats = reinterpret_cast<DeviceStats*>(op.row_stats.as<double>());
  about.upstream = numbers(op.upstream);
  auto* totals = stream.scratch<Totals>(1);
  about.totals = totals;
  SumWork work;
  work.about = about;
  work.widened = widened_classes(op, stream);
  work.classes = work.widened.data ? op.classes : 0;
  work.losses = bool(op.grad_token_weight);
  work.totals = totals;
  if (work.classes) work.class_fault = stream.fault_site(raise_class);
  if (about.reduction == Reduction::mean || work.classes) sum(work, stream);

  const PlanShape shape = shape_of(op, stream);
  if (op.grad_logits) {
    with_rows(op, about, op.grad_logits.data, work.widened.data, [&](auto rows) {
      rows.saved = true;
      rows.unless_one = op.grad_logits_ready && reduced(op);
      launch_rows(rows, shape, stream);
    });
  }
  if (op.grad_target) {
    const GradientPlan plan = plan_gradient(shape);
    const int64_t each = kThreads / plan.lanes;
    visit_float(op.logits.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      launch(stream, cross_entropy_target_kernel<T>,
             {(op.rows * plan.parts + each - 1) / each, kThreads},
             rows_of<GeneralRows<T>>(op, about, nullptr, work.widened.data),
             NumbersOut{op.grad_target.data, op.grad_target.dtype}, plan);
    });
  }
  if (op.grad_token_weight) {
    launch(stream, cross_entropy_tokens_kernel, {(op.rows + kThreads - 1) / kThreads, kThreads},
           about, NumbersOut{op.grad_token_weight.data, op.grad_token_weight.dtype});
  }
}

void scale_cuda(const Scale& op, Stream& stream) {
  check(op);
  visit_float(op.grad.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr int64_t kEach = kThreads * 4 * kPack<T>;
    launch(stream, cross_entropy_scale_kernel<T>, {(op.grad.size + kEach - 1) / kEach, kThreads},
           op.grad.as<T>(), op.out.as<T>(), op.grad.size, numbers(op.upstream));
  });
}

}  // namespace surprisal::cross_entropy
