#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <vector>

#include "core/measures.h"
#include "ops/sinkhorn/contract.h"
#include "ops/sinkhorn/instance.h"
#include "ops/sinkhorn/unroll.h"

#define SURPRISAL_AVX512
#define SURPRISAL_BODY "ops/sinkhorn/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::sinkhorn {
namespace {

// f(op, wide) with the epsilon and the accumulators that a problem can be computed with.
template <class Op, class F>
void with_precision(Op op, const Instance& one, F&& f) {
  const Precision precision = precision_of(op, one);
  op.epsilon = precision.epsilon;
  f(op, precision.wide);
}

Kept kept_of(const Problem& op, const Batch& batch, const Instance& one, double* all) {
  const int64_t rows = batch.rows(), columns = batch.columns();
  Kept kept{};
  kept.x = all + kKept * one.x.start;
  kept.y = all + kKept * (rows + one.y.start);
  if (!op.debias) return kept;
  kept.xx = all + kKept * (rows + columns + one.x.start);
  kept.yy = all + kKept * (2 * rows + columns + one.y.start);
  return kept;
}

double* potentials_of(const Problem& op, const Batch& batch, const View& potentials) {
  require(potentials.size == kKept * (batch.rows() + batch.columns()) * (op.debias ? 2 : 1),
          "sinkhorn: size of the potentials");
  return potentials.as<double>();
}

bool same_points(const Problem& op, const Measure& x, const Measure& y) {
  if (x.n != y.n || x.rho != y.rho || !std::equal(x.weight, x.weight + x.n, y.weight)) return false;
  if (x.label && !std::equal(x.label, x.label + x.n, y.label)) return false;
  for (int64_t i = 0; i < x.n * op.width; ++i)
    if (value_of(x.points, x.start * op.width + i) != value_of(y.points, y.start * op.width + i))
      return false;
  return true;
}

// A measure and itself: nothing to compute, where the terms cancel.
bool is_zero(const Problem& op, const Instance& one) {
  return op.debias && !op.labels && same_points(op, one.x, one.y);
}

// Many problems: one a thread, each with its share of the workspace. Few: one after the other.
// f(instance, workspace) of problems [first, last)
template <class F>
void each_problem(const Problem& op, const Batch& batch, int64_t first, int64_t last, F&& f) {
  const int64_t threads = num_threads();
  if (last - first < threads || threads == 1) {
    for (int64_t i = first; i < last; ++i) f(batch.instance(i), op.workspace_bytes);
    return;
  }
  parallel_for(last - first, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = first + begin; i < first + end; ++i)
      f(batch.instance(i), op.workspace_bytes / threads);
  });
}
template <class F>
void each_problem(const Problem& op, const Batch& batch, F&& f) {
  each_problem(op, batch, 0, op.batch, f);
}

// The gradient in the label costs: each problem's is made apart, as many at once as the workspace
// holds, and added in the order of the problems, which no thread and no workspace changes.
// run(instance, workspace, op)
template <class Op, class F>
void add_problems(const Op& op, const Batch& batch, F&& run) {
  if (!op.dlabel_cost) {
    each_problem(op, batch,
                 [&](const Instance& one, int64_t workspace) { run(one, workspace, op); });
    return;
  }
  const int64_t area = op.labels * op.labels;
  const int64_t rows = std::max(batch.rows(), batch.columns());
  // Besides the sums themselves a problem at work has its label costs and its chunks' sums.
  const int64_t bytes = (4 + label_chunks(rows, op.labels)) * area * int64_t{sizeof(double)};
  const int64_t step = std::max<int64_t>(1, std::min(op.workspace_bytes / bytes - 1, op.batch));
  const Scratch<double> total(area), sums(step * area);
  std::fill_n(total.data(), area, 0.0);
  for (int64_t first = 0; first < op.batch; first += step) {
    const int64_t last = std::min(op.batch, first + step);
    std::fill_n(sums.data(), (last - first) * area, 0.0);
    each_problem(op, batch, first, last, [&](const Instance& one, int64_t workspace) {
      Op own = op;
      own.dlabel_cost = {sums.data() + (one.index - first) * area, DType::f64, area};
      run(one, workspace, own);
    });
    for (int64_t p = 0; p < last - first; ++p)
      for (int64_t l = 0; l < area; ++l) total[l] += sums[p * area + l];
  }
  for (int64_t l = 0; l < area; ++l) set_value(op.dlabel_cost, l, total[l]);
}

void check_init(const Solve& op, const Batch& batch) {
  const auto check = [&](const View& init, int64_t size, const char* name) {
    require(init.size == size, "sinkhorn: size of init");
    each_value(init, [&](int64_t i, double v) {
      if (std::isfinite(v)) return;
      refuse(name_of(op), std::string("expected ") + name + " to hold finite numbers, got " +
                              text_of(v) + " at " + std::to_string(i));
    });
  };
  if (!op.init_f) return;
  check(op.init_f, batch.rows(), "init.f");
  check(op.init_g, batch.columns(), "init.g");
}

// Of absent views nothing is recorded.
TermSteps steps_of(const Problem& op, const Batch& batch, const Instance& one, const View& steps) {
  TermSteps terms;
  if (!steps) return terms;
  const int64_t n = one.x.n, m = one.y.n, each = op.max_iterations * (op.debias ? 3 : 1);
  require(steps.size == 3 * op.batch + each * (batch.rows() + batch.columns()),
          "sinkhorn: size of the steps");
  double* const counts = steps.as<double>() + 3 * one.index;
  double* from = steps.as<double>() + 3 * op.batch + each * (one.x.start + one.y.start);
  terms.cross = {counts, from, n, m};
  from += op.max_iterations * (n + m);
  terms.xx = {counts + 1, from, n, n};
  terms.yy = {counts + 2, from + op.max_iterations * 2 * n, m, m};
  return terms;
}

void report(const Solve& op, const Instance& one, const Outcome& out, const Kept& kept) {
  set_value(op.value, one.index, out.value);
  double* info = op.info.as<double>() + 3 * one.index;
  info[0] = static_cast<double>(out.iterations);
  info[1] = out.error;
  info[2] = out.converged;
  for (int64_t i = 0; op.f && i < one.x.n; ++i) set_value(op.f, one.x.start + i, kept.x[i]);
  for (int64_t j = 0; op.g && j < one.y.n; ++j) set_value(op.g, one.y.start + j, kept.y[j]);
}

}  // namespace

void solve(const Solve& op) {
  const Batch batch(op);
  require(op.value.size == op.batch && op.info.size == 3 * op.batch, "sinkhorn: size of value");
  check_init(op, batch);
  double* all = potentials_of(op, batch, op.potentials);
  each_problem(op, batch, [&](const Instance& one, int64_t workspace) {
    const Kept kept = kept_of(op, batch, one, all);
    Outcome out;
    if (is_zero(op, one)) {
      std::fill_n(kept.x, kKept * one.x.n, 0.0);
      std::fill_n(kept.y, kKept * one.y.n, 0.0);
      std::fill_n(kept.xx, kKept * one.x.n, 0.0);
      std::fill_n(kept.yy, kKept * one.y.n, 0.0);
    } else {
      with_precision(op, one, [&](const Solve& inner, bool wide) {
        out = SURPRISAL_DISPATCH(sinkhorn::solve, inner, one, workspace, kept, wide);
        out.converged = out.converged && inner.epsilon == op.epsilon;
      });
    }
    report(op, one, out, kept);
  });
}

void gradients(const Gradients& op) {
  const Batch batch(op);
  require(op.upstream.size == op.batch, "sinkhorn: size of upstream");
  double* all = potentials_of(op, batch, op.potentials);
  add_problems(op, batch, [&](const Instance& one, int64_t workspace, const Gradients& inner) {
    const Kept kept = kept_of(op, batch, one, all);
    if (is_zero(op, one)) {
      const auto clear = [](const View& to, int64_t start, int64_t n) {
        for (int64_t i = 0; to && i < n; ++i) set_value(to, start + i, 0);
      };
      clear(op.dx, one.x.start * op.width, one.x.n * op.width);
      clear(op.dy, one.y.start * op.width, one.y.n * op.width);
      clear(op.da, one.x.start, one.x.n);
      clear(op.db, one.y.start, one.y.n);
    } else {
      with_precision(inner, one, [&](const Gradients& own, bool wide) {
        SURPRISAL_DISPATCH(sinkhorn::gradients, own, one, workspace, kept, wide);
      });
    }
  });
}

void unroll(const Unroll& op) {
  const Batch batch(op);
  require(op.value.size == op.batch && op.info.size == 3 * op.batch, "sinkhorn: size of value");
  check_init(op, batch);
  double* all = potentials_of(op, batch, op.potentials);
  each_problem(op, batch, [&](const Instance& one, int64_t workspace) {
    const Kept kept = kept_of(op, batch, one, all);
    const TermSteps steps = steps_of(op, batch, one, op.steps);
    Outcome out;
    with_precision(op, one, [&](const Unroll& own, bool wide) {
      out = SURPRISAL_DISPATCH(sinkhorn::unroll, own, one, workspace, kept, steps, wide);
      out.converged = out.converged && own.epsilon == op.epsilon;
    });
    report(op, one, out, kept);
  });
}

void unroll_backward(const UnrollBackward& op) {
  const Batch batch(op);
  require(static_cast<bool>(op.steps), "sinkhorn: no steps");
  require(!op.upstream || op.upstream.size == op.batch, "sinkhorn: size of upstream");
  require(!op.upstream_f || op.upstream_f.size == batch.rows(), "sinkhorn: size of upstreamF");
  require(!op.upstream_g || op.upstream_g.size == batch.columns(), "sinkhorn: size of upstreamG");
  add_problems(op, batch, [&](const Instance& one, int64_t workspace, const UnrollBackward& inner) {
    const TermSteps steps = steps_of(op, batch, one, op.steps);
    with_precision(inner, one, [&](const UnrollBackward& own, bool wide) {
      SURPRISAL_DISPATCH(sinkhorn::unroll_backward, own, one, workspace, steps, wide);
    });
  });
}

void plan(const Plan& op) {
  const Batch batch(op);
  double* all = potentials_of(op, batch, op.potentials);
  for (int64_t i = 0; i < op.batch; ++i) {
    const Instance one = batch.instance(i);
    require(op.out.size == op.batch * one.x.n * one.y.n, "sinkhorn: size of the plan");
    with_precision(op, one, [&](const Plan& own, bool wide) {
      SURPRISAL_DISPATCH(sinkhorn::plan, own, one, kept_of(op, batch, one, all), wide);
    });
  }
}

void apply(const Apply& op) {
  const Batch batch(op);
  double* all = potentials_of(op, batch, op.potentials);
  const int64_t from = op.transposed ? batch.rows() : batch.columns();
  const int64_t to = op.transposed ? batch.columns() : batch.rows();
  require(op.v.size == from * op.columns && op.out.size == to * op.columns, "sinkhorn: apply");
  each_problem(op, batch, [&](const Instance& one, int64_t) {
    with_precision(op, one, [&](const Apply& own, bool wide) {
      SURPRISAL_DISPATCH(sinkhorn::apply, own, one, kept_of(op, batch, one, all), wide);
    });
  });
}

void contract(const Contract& op) {
  const Batch batch(op);
  double* all = potentials_of(op, batch, op.potentials);
  require(op.u.size == batch.rows() * op.inner && op.w.size == batch.columns() * op.inner &&
              op.v.size == batch.columns() * op.columns && op.out.size == batch.rows() * op.columns,
          "sinkhorn: contract");
  each_problem(op, batch, [&](const Instance& one, int64_t) {
    with_precision(op, one, [&](const Contract& own, bool wide) {
      SURPRISAL_DISPATCH(sinkhorn::contract, own, one, kept_of(op, batch, one, all), wide);
    });
  });
}

}  // namespace surprisal::sinkhorn
