// Sinkhorn on a device: where things lie, and what is launched. A solve is four launches whatever
// its iterations: values are checked and points centred, one kernel iterates every term to its end
// (solve_device.h, plan.h), one makes values of the terms. Nothing waits and nothing is read back,
// so that a graph can hold all of it. Backward measures again rather than keep centred points.
#include <vector>

#include "ops/sinkhorn/device.h"

namespace surprisal::sinkhorn {
namespace {

using cuda::Stream;

// A problem of JavaScript with all that kernels need beside it.
struct Prepared {
  Job job;
  Sizes sizes;
  bool wide = false;
  int64_t most() const { return std::max(sizes.n, sizes.m); }
};

void check(const Problem& op, int64_t rows, int64_t columns) {
  require(op.starts_x.size == op.batch + 1 && op.starts_y.size == op.batch + 1, "sinkhorn: starts");
  const bool given = static_cast<Cost>(op.kind) == Cost::matrix;
  require(given || (op.x.size == rows * op.width && op.y.size == columns * op.width &&
                    op.x.dtype == op.y.dtype),
          "sinkhorn: sizes of the points");
  require(!op.a || op.a.size == rows, "sinkhorn: size of a");
  require(!op.b || op.b.size == columns, "sinkhorn: size of b");
  require(!given || !op.debias, "sinkhorn: a given cost has no self terms");
  require(!op.labels || op.label_cost.size == op.labels * op.labels, "sinkhorn: size of labelCost");
  require(!op.labels || (op.labels_x.size == rows && op.labels_y.size == columns),
          "sinkhorn: sizes of the labels");
}

std::vector<Place> places_of(const Problem& op, Sizes* sizes) {
  const int64_t *x = op.starts_x.as<int64_t>(), *y = op.starts_y.as<int64_t>();
  std::vector<Place> places(static_cast<size_t>(op.batch));
  int64_t cost = 0, held = 0;
  for (int64_t p = 0; p < op.batch; ++p) {
    Place& at = places[static_cast<size_t>(p)];
    at.x = x[p];
    at.n = x[p + 1] - x[p];
    at.y = y[p];
    at.m = y[p + 1] - y[p];
    require(at.n > 0 && at.m > 0, "sinkhorn: a problem without points");
    at.cost = cost;
    cost += at.n * at.m;
    at.held_cross = held;
    at.held_x = held + at.n * at.m;
    at.held_y = at.held_x + at.n * at.n;
    held += at.n * at.m + (op.debias ? at.n * at.n + at.m * at.m : 0);
    sizes->n = std::max(sizes->n, at.n);
    sizes->m = std::max(sizes->m, at.m);
  }
  sizes->held_bytes = held * sizes->element;
  return places;
}

void fill_side(const View& points, const View& given, const View& label, int64_t count, double rho,
               int64_t width, bool wide, Stream& stream, DeviceSide* side) {
  side->points = points;
  side->given = given;
  side->label = label ? label.as<int32_t>() : nullptr;
  side->count = count;
  side->rho = rho;
  side->weight = stream.scratch<double>(count);
  side->log_weight = stream.scratch<double>(count);
  side->shift = stream.scratch<double>(count);
  if (width == 0) return;
  if (!wide) side->centred = stream.scratch<float>(count * width);
  side->centred_wide = stream.scratch<double>(count * width);
}

Prepared prepare(const Problem& op, const View& potentials, bool solves, Stream& stream) {
  const int64_t rows = op.starts_x.as<int64_t>()[op.batch];
  const int64_t columns = op.starts_y.as<int64_t>()[op.batch];
  check(op, rows, columns);
  require(potentials.size == kKept * (rows + columns) * (op.debias ? 2 : 1),
          "sinkhorn: size of the potentials");
  Prepared out;
  Job& job = out.job;
  job.kind = static_cast<Cost>(op.kind);
  const bool given = job.kind == Cost::matrix;
  out.wide = (given ? op.cost : op.x).dtype == DType::f64;
  job.width = given ? 0 : op.width;
  Sizes& s = out.sizes;
  s.batch = op.batch;
  s.depth = job.width;
  s.debias = op.debias;
  s.dots = !op.labels && (job.kind == Cost::half_square || job.kind == Cost::cosine);
  s.element = out.wide ? 8 : 4;
  s.workspace = op.workspace_bytes;
  s.processors = stream.properties().processors;
  s.shared = stream.properties().shared;
  const std::vector<Place> places = places_of(op, &s);
  fill_side(op.x, op.a, op.labels_x, rows, op.rho_a, job.width, out.wide, stream, &job.x);
  fill_side(op.y, op.b, op.labels_y, columns, op.rho_b, job.width, out.wide, stream, &job.y);
  job.products = has_products(s);
  for (DeviceSide* side : {&job.x, &job.y})
    if (job.products && solves)
      side->halves = stream.scratch<Float16>(side->count * halves_of(job.width));
  auto* held = stream.scratch<Place>(op.batch);
  stream.upload(held, places.data(), op.batch * int64_t{sizeof(Place)});
  job.places = held;
  job.facts = stream.scratch<Facts>(op.batch);
  job.batch = op.batch;
  job.labels = op.labels;
  job.debias = op.debias;
  job.geomloss = op.geomloss;
  job.epsilon = op.epsilon;
  job.tolerance = op.tolerance;
  job.power = op.power;
  job.scaling = op.scaling;
  job.max_iterations = op.max_iterations;
  job.cost = op.cost;
  job.range = stream.scratch<uint64_t>(2 * op.batch);
  job.centre = stream.scratch<double>(op.batch * job.width);
  job.box = stream.scratch<double>(2 * op.batch * job.width);
  job.diameter = stream.scratch<double>(1);
  if (op.labels) {
    const int64_t area = op.labels * op.labels;
    if (!out.wide) job.label_cost = stream.scratch<float>(2 * area);
    job.label_cost_wide = stream.scratch<double>(2 * area);
  }
  job.kept = potentials.as<double>();
  measure(op, job, out.wide, stream);
  return out;
}

// f(A{}) with each type that problems may be computed in. Which of them are is known on the device.
template <class F>
void by_width(const Prepared& prepared, F&& f) {
  if (!prepared.wide) f(float{});
  f(double{});
}

void hold(Prepared& prepared, Stream& stream) {
  Job& job = prepared.job;
  void* held = stream.scratch_bytes(prepared.sizes.held_bytes);
  if (prepared.wide) {
    job.held_wide = static_cast<double*>(held);
    hold_scores<double>(job, prepared.most(), stream);
  } else {
    job.held = static_cast<float*>(held);
    hold_scores<float>(job, prepared.most(), stream);
  }
}

// Rows of a term with their exponents.
Rows rows_of(const Prepared& prepared, Term term, bool transposed, bool at_potentials,
             const View& upstream, Stream& stream) {
  const Job& job = prepared.job;
  Rows rows;
  rows.job = job;
  rows.term = term;
  rows.transposed = transposed;
  rows.at_potentials = at_potentials;
  const int64_t most = std::max(job.x.count, job.y.count);
  if (!prepared.wide) {
    rows.row = stream.scratch<float>(most);
    rows.column = stream.scratch<float>(most);
  }
  rows.row_wide = stream.scratch<double>(most);
  rows.column_wide = stream.scratch<double>(most);
  rows.upstream = upstream;
  by_width(prepared, [&](auto a) { make_exponents<decltype(a)>(rows, stream); });
  return rows;
}

void point_gradient(const Gradients& op, const Prepared& prepared, bool second, const View& to,
                    Stream& stream) {
  const Job& job = prepared.job;
  const int64_t size = (second ? job.y.count : job.x.count) * job.width;
  SumWork work;
  work.width = job.width;
  work.sums = stream.scratch<double>(size);
  stream.fill_bytes(work.sums, 0, size * int64_t{sizeof(double)});
  for (int t = 0; t < (op.debias ? 2 : 1); ++t) {
    const Term term = t == 0 ? Term::cross : second ? Term::self_y : Term::self_x;
    work.factor = t == 0 ? 1 : -1;
    work.rows = rows_of(prepared, term, t == 0 && second, false, op.upstream, stream);
    by_width(prepared, [&](auto a) { add_sums<decltype(a)>(work, prepared.most(), stream); });
  }
  PointWork points;
  points.job = job;
  points.second = second;
  points.sums = work.sums;
  points.out = to;
  write_points(points, stream);
}

void label_gradient(const Gradients& op, const Prepared& prepared, Stream& stream) {
  const Job& job = prepared.job;
  const int64_t area = job.labels * job.labels, most = std::max(job.x.count, job.y.count);
  auto* bins = stream.scratch<double>(area);
  stream.fill_bytes(bins, 0, area * int64_t{sizeof(double)});
  SumWork work;
  work.values = Values::labels;
  auto* masses = stream.scratch<double>(most * cuda::kWarp);
  work.out = cuda::NumbersOut(masses, DType::f64);
  for (int t = 0; t < (op.debias ? 3 : 1); ++t) {
    work.rows = rows_of(prepared, static_cast<Term>(t), false, false, op.upstream, stream);
    for (work.first = 0; work.first < job.labels; work.first += cuda::kWarp) {
      work.width = std::min<int64_t>(cuda::kWarp, job.labels - work.first);
      BinWork bin{work.rows, masses, work.width, work.first, t == 0 ? 1 : -0.5, bins};
      by_width(prepared, [&](auto a) { add_sums<decltype(a)>(work, prepared.most(), stream); });
      add_bins(bin, stream);
    }
  }
  write_bins(bins, area, op.dlabel_cost, stream);
}

void entries(const Prepared& prepared, bool plan, const View& upstream, const View& out,
             Stream& stream) {
  EntryWork work;
  work.rows = rows_of(prepared, Term::cross, false, plan, upstream, stream);
  work.out = out;
  work.pairs = out.size / prepared.job.batch;
  require(work.pairs == prepared.sizes.n * prepared.sizes.m, "sinkhorn: size of the plan");
  by_width(prepared, [&](auto a) { write_entries<decltype(a)>(work, stream); });
}

}  // namespace

void solve_cuda(const Solve& op, Stream& stream) {
  require(op.value.size == op.batch && op.info.size == 3 * op.batch, "sinkhorn: size of value");
  if (op.batch == 0) return;
  Prepared prepared = prepare(op, op.potentials, true, stream);
  const Job& job = prepared.job;
  SolveWork work;
  work.plan = plan_solve(prepared.sizes);
  if (work.plan.held) hold(prepared, stream);
  work.job = job;
  const int64_t terms = 3 * op.batch, points = job.x.count + job.y.count;
  work.weighted = stream.scratch<double>(2 * points);
  work.counters = stream.scratch<uint32_t>(terms);
  stream.fill_bytes(work.counters, 0, terms * int64_t{sizeof(uint32_t)});
  work.stride = ceil_div(prepared.most(), kWarpRows);
  work.parts = stream.scratch_bytes(terms * 2 * work.stride * kPartBytes);
  auto* outcomes = stream.scratch<Outcome>(terms);
  work.outcomes = outcomes;
  if (work.plan.products) {
    work.partial_stride = 2 * kMostBands * prepared.most();
    work.partial =
        stream.scratch<double>((work.plan.in_turn ? op.batch : terms) * work.partial_stride);
    run_products(work, stream);
  } else if (!prepared.wide) {
    run_solve<float>(work, stream);
  }
  if (!prepared.wide) work.plan = plan_solve(prepared.sizes.wide());
  run_solve<double>(work, stream);
  FinishWork end;
  end.job = job;
  end.outcomes = outcomes;
  end.value = op.value;
  end.f = op.f;
  end.g = op.g;
  end.info = op.info.as<double>();
  finish(end, stream);
}

void gradients_cuda(const Gradients& op, Stream& stream) {
  require(op.upstream.size == op.batch, "sinkhorn: size of upstream");
  if (op.batch == 0) return;
  Prepared prepared = prepare(op, op.potentials, false, stream);
  if (op.da || op.db) {
    WeightWork work;
    work.job = prepared.job;
    work.upstream = op.upstream;
    work.da = op.da;
    work.db = op.db;
    weight_gradients(work, stream);
  }
  // Scores are made anew for every 32 features.
  const Sizes& s = prepared.sizes;
  if ((op.dx || op.dy) && s.depth > cuda::kWarp && s.held_bytes <= s.workspace)
    hold(prepared, stream);
  if (op.dx) point_gradient(op, prepared, false, op.dx, stream);
  if (op.dy) point_gradient(op, prepared, true, op.dy, stream);
  if (op.dcost) entries(prepared, false, op.upstream, op.dcost, stream);
  if (op.dlabel_cost) label_gradient(op, prepared, stream);
}

void plan_cuda(const Plan& op, Stream& stream) {
  if (op.batch == 0) return;
  entries(prepare(op, op.potentials, false, stream), true, {}, op.out, stream);
}

void apply_cuda(const Apply& op, Stream& stream) {
  if (op.batch == 0) return;
  const Prepared prepared = prepare(op, op.potentials, false, stream);
  const Job& job = prepared.job;
  const int64_t from = op.transposed ? job.x.count : job.y.count;
  const int64_t to = op.transposed ? job.y.count : job.x.count;
  require(op.v.size == from * op.columns && op.out.size == to * op.columns, "sinkhorn: apply");
  stream.fill_bytes(op.out.data, 0, op.out.size * size_of(op.out.dtype));
  SumWork work;
  work.rows = rows_of(prepared, Term::cross, op.transposed, true, {}, stream);
  work.values = Values::given;
  work.given = op.v;
  work.width = op.columns;
  work.out = op.out;
  by_width(prepared, [&](auto a) { add_sums<decltype(a)>(work, prepared.most(), stream); });
}

}  // namespace surprisal::sinkhorn
