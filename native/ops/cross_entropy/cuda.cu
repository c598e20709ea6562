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
#include "ops/cross_entropy/device_sums.h"
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

// Rows that no warp can hold. What has more to remember keeps two blocks a multiprocessor, and so
// does sm_100, whose code wants more registers than three leave.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr int kPlainBlocks = 2;
#else
constexpr int kPlainBlocks = 3;
#endif
template <class Rows>
__global__ void __launch_bounds__(kThreads, Rows::kPlain ? kPlainBlocks : 2)
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

// --- gradient of probabilities -------------------------------------------------------------------

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
      static_cast<Real>(up * about.token_weight.weight(row) * (1 - about.options.label_smoothing));
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

// --- launches ------------------------------------------------------------------------------------

void raise_target(const Fault& f) { refuse_target(f.value, f.row, f.a, f.b); }
void raise_class(const Fault& f) {
  double value;
  std::memcpy(&value, &f.value, sizeof value);
  refuse_class_weight(value, f.row);
}
void raise_token(const Fault& f) { refuse_token_weight(f.row); }

RowContext context_of(const Problem& op) {
  RowContext c;
  c.targets.data = op.target.data;
  c.targets.dtype = op.target.dtype;
  c.targets.classes = op.classes;
  c.targets.ignore = op.ignore_index;
  c.class_weight = op.class_weight;
  c.token_weight = op.token_weight;
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
  about.upstream = op.upstream;
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
             NumbersOut(op.grad_target), plan);
    });
  }
  if (op.grad_token_weight) token_gradient(about, op.grad_token_weight, stream);
}

}  // namespace surprisal::cross_entropy
