#include <cmath>
#include <string>
#include <vector>

#include "core/measures.h"
#include "core/values.h"
#include "ops/emd/instance.h"
#include "ops/emd/op.h"
#include "ops/emd/tree.h"

#define SURPRISAL_BODY "ops/emd/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::emd {
namespace {

void check_costs(const Solve& op) {
  each_value(op.cost, [&](int64_t e, double c) {
    if (std::isfinite(c)) return;
    const std::string problem = op.batch > 1 ? std::to_string(e / (op.n * op.m)) + ", " : "";
    refuse("emd", "expected cost to hold finite numbers, got " + text_of(c) + " at [" + problem +
                      std::to_string(e / op.m % op.n) + ", " + std::to_string(e % op.m) + "]");
  });
}

void solve_one(const Solve& op, int64_t index, const BalancedWeights& weights) {
  const int64_t area = op.n * op.m, nodes = op.n + op.m;
  const bool narrow = op.cost.dtype != DType::f64;
  Scratch<double> own(narrow ? area : 0);
  for (int64_t e = 0; narrow && e < area; ++e) own[e] = value_of(op.cost, index * area + e);
  Scratch<double> f(op.n), g(op.m);
  const Instance in{narrow ? own.data() : op.cost.as<double>() + index * area,
                    weights.a(index),
                    weights.b(index),
                    op.n,
                    op.m,
                    weights.scale()};
  const Answer out{f.data(), g.data(), op.pairs.as<int32_t>() + 2 * nodes * index,
                   op.mass.as<double>() + nodes * index};
  const Outcome end = SURPRISAL_DISPATCH(emd::solve, in, op.max_iterations, out);
  set_value(op.value, index, end.value);
  double* info = op.info.as<double>() + 3 * index;
  info[0] = static_cast<double>(end.pivots);
  info[1] = end.gap;
  info[2] = end.optimal;
  const auto store = [&](const double* from, int64_t n, const View& potential, const View& slope) {
    for (int64_t i = 0; i < n; ++i) {
      set_value(potential, index * n + i, from[i]);
      set_value(slope, index * n + i, from[i] - end.mean);
    }
  };
  store(f.data(), op.n, op.f, op.da);
  store(g.data(), op.m, op.g, op.db);
}

void check(const Solve& op) {
  const int64_t nodes = op.batch * (op.n + op.m);
  require(op.n > 0 && op.m > 0 && op.n + op.m < (int64_t{1} << 31) - 1, "emd: sizes");
  require(op.cost.size == op.batch * op.n * op.m && op.value.size == op.batch &&
              op.f.size == op.batch * op.n && op.g.size == op.batch * op.m &&
              op.da.size == op.f.size && op.db.size == op.g.size && op.pairs.size == 2 * nodes &&
              op.mass.size == nodes && op.info.size == 3 * op.batch,
          "emd: sizes differ");
  check_costs(op);
}

// f(problem, row, column, mass) of each entry of a plan.
template <class Op, class F>
void each_entry(const Op& op, int64_t index, F&& f) {
  const int64_t nodes = op.n + op.m;
  const int32_t* pair = op.pairs.template as<int32_t>() + 2 * nodes * index;
  const double* mass = op.mass.template as<double>() + nodes * index;
  for (int64_t e = 0; e < nodes && pair[2 * e] >= 0; ++e) f(pair[2 * e], pair[2 * e + 1], mass[e]);
}

template <class Op>
void check_plan(const Op& op) {
  const int64_t nodes = op.batch * (op.n + op.m);
  require(op.pairs.size == 2 * nodes && op.mass.size == nodes, "emd: size of the plan");
}

}  // namespace

void solve(const Solve& op) {
  check(op);
  const BalancedWeights weights("emd", op.a, op.b, op.batch, op.n, op.m);
  parallel_for(op.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) solve_one(op, i, weights);
  });
}

void spread(const Spread& op) {
  check_plan(op);
  const int64_t area = op.n * op.m;
  require(op.out.size == op.batch * area, "emd: size of the plan");
  require(!op.factor || op.factor.size == op.batch, "emd: size of factor");
  std::memset(op.out.data, 0, static_cast<size_t>(op.out.size) * size_of(op.out.dtype));
  for (int64_t i = 0; i < op.batch; ++i) {
    const double factor = op.factor ? value_of(op.factor, i) : 1;
    each_entry(op, i, [&](int64_t row, int64_t column, double mass) {
      set_value(op.out, i * area + row * op.m + column, factor * mass);
    });
  }
}

void apply(const Apply& op) {
  check_plan(op);
  const int64_t from = op.transposed ? op.n : op.m, to = op.transposed ? op.m : op.n;
  const int64_t k = op.columns;
  require(op.v.size == op.batch * from * k && op.out.size == op.batch * to * k, "emd: apply");
  Scratch<double> sum(to * k);
  for (int64_t i = 0; i < op.batch; ++i) {
    std::fill_n(sum.data(), to * k, 0.0);
    each_entry(op, i, [&](int64_t row, int64_t column, double mass) {
      const int64_t source = op.transposed ? row : column, target = op.transposed ? column : row;
      for (int64_t c = 0; c < k; ++c)
        sum[target * k + c] += mass * value_of(op.v, (i * from + source) * k + c);
    });
    for (int64_t e = 0; e < to * k; ++e) set_value(op.out, i * to * k + e, sum[e]);
  }
}

}  // namespace surprisal::emd
