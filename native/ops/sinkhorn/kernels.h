// Bodies build on each other: their order matters.
#include "cpu/gemm.h"
#include "cpu/vector_math.h"

namespace sinkhorn {

using namespace ::surprisal::sinkhorn;
#include "ops/sinkhorn/scores.h"
#include "ops/sinkhorn/powers.h"
#include "ops/sinkhorn/softmin.h"
#include "ops/sinkhorn/side.h"
#include "ops/sinkhorn/sweep.h"
#include "ops/sinkhorn/weak.h"
#include "ops/sinkhorn/dual.h"
#include "ops/sinkhorn/iterate.h"
#include "ops/sinkhorn/geometry.h"
#include "ops/sinkhorn/weighted.h"
#include "ops/sinkhorn/means.h"
#include "ops/sinkhorn/kept.h"
#include "ops/sinkhorn/points.h"
#include "ops/sinkhorn/backward.h"
#include "ops/sinkhorn/steps.h"
#include "ops/sinkhorn/slopes.h"
#include "ops/sinkhorn/forms.h"

template <class A>
void keep(const Side<A>& side, double* to) {
  for (const double* part : {side.potential, side.seen, side.softmin}) {
    std::copy_n(part, side.n, to);
    to += side.n;
  }
}

template <class A>
Outcome solve_self(const Problem& op, const Instance& one, const Geometry<A>& geometry,
                   const Cloud<A>& cloud, double* kept) {
  const auto z = geometry.self(cloud);
  Side<A> side(cloud.measure, cloud.n);
  Dual<A> dual(*z, side, side, op.epsilon, one.scale);
  const Outcome out = op.geomloss ? follow(op, one, dual) : symmetrise(op, dual);
  keep(side, kept);
  return out;
}

// A debiased problem's outcome from its terms'.
inline Outcome less_selves(const Problem& op, const Instance& one, Outcome out,
                           const Outcome& first, const Outcome& second) {
  for (const Outcome& self : {first, second}) {
    out.value -= self.value / 2;
    out.iterations = std::max(out.iterations, self.iterations);
    out.error = std::max(out.error, self.error);
    out.converged = out.converged && self.converged;
  }
  const double more = one.x.mass - one.y.mass;
  const bool counted = op.geomloss && (op.rho_a >= 0) == (op.rho_b >= 0);
  if (!counted) out.value += op.epsilon / 2 * more * more;
  return out;
}

template <class A>
Outcome solve_as(const Solve& op, const Instance& one, int64_t workspace, const Kept& kept) {
  const Geometry<A> geometry(op, one, workspace);
  Outcome out;
  {
    const auto z = geometry.cross();
    Side<A> x(one.x, one.x.n), y(one.y, one.y.n);
    Dual<A> dual(*z, x, y, op.epsilon, one.scale);
    if (op.init_f) start_from(op, one, dual);
    out = op.geomloss ? follow(op, one, dual) : balance(op, one, dual, !op.init_f);
    keep(x, kept.x);
    keep(y, kept.y);
  }
  if (!op.debias) return out;
  return less_selves(op, one, out, solve_self(op, one, geometry, geometry.x(), kept.xx),
                     solve_self(op, one, geometry, geometry.y(), kept.yy));
}

// The same by plain steps.
template <class A>
Outcome unroll_as(const Solve& op, const Instance& one, int64_t workspace, const Kept& kept,
                  const TermSteps& steps) {
  const Geometry<A> geometry(op, one, workspace);
  const auto term = [&](const Scores<A>& z, const Measure& row, const Measure& column,
                        const Steps& own, double* rows, double* columns) {
    Side<A> x(row, row.n), y(column, column.n);
    Dual<A> dual(z, x, y, op.epsilon, one.scale);
    if (columns && op.init_f) start_from(op, one, dual);
    const Outcome out = alternate(op, dual, own);
    keep(x, rows);
    if (columns) keep(y, columns);
    return out;
  };
  const Outcome out = term(*geometry.cross(), one.x, one.y, steps.cross, kept.x, kept.y);
  if (!op.debias) return out;
  const auto self = [&](const Cloud<A>& cloud, const Steps& own, double* rows) {
    return term(*geometry.self(cloud, true, false), cloud.measure, cloud.measure, own, rows,
                nullptr);
  };
  return less_selves(op, one, out, self(geometry.x(), steps.xx, kept.xx),
                     self(geometry.y(), steps.yy, kept.yy));
}

Outcome unroll(const Solve& op, const Instance& one, int64_t workspace, const Kept& kept,
               const TermSteps& steps, bool wide) {
  return wide ? unroll_as<double>(op, one, workspace, kept, steps)
              : unroll_as<float>(op, one, workspace, kept, steps);
}

void unroll_backward(const UnrollBackward& op, const Instance& one, int64_t workspace,
                     const TermSteps& steps, bool wide) {
  wide ? unroll_backward_as<double>(op, one, workspace, steps)
       : unroll_backward_as<float>(op, one, workspace, steps);
}

Outcome solve(const Solve& op, const Instance& one, int64_t workspace, const Kept& kept,
              bool wide) {
  return wide ? solve_as<double>(op, one, workspace, kept)
              : solve_as<float>(op, one, workspace, kept);
}

void gradients(const Gradients& op, const Instance& one, int64_t workspace, const Kept& kept,
               bool wide) {
  wide ? gradients_as<double>(op, one, workspace, kept)
       : gradients_as<float>(op, one, workspace, kept);
}

void plan(const Plan& op, const Instance& one, const Kept& kept, bool wide) {
  wide ? plan_as<double>(op, one, kept) : plan_as<float>(op, one, kept);
}

void apply(const Apply& op, const Instance& one, const Kept& kept, bool wide) {
  wide ? apply_as<double>(op, one, kept) : apply_as<float>(op, one, kept);
}

void contract(const Contract& op, const Instance& one, const Kept& kept, bool wide) {
  wide ? contract_as<double>(op, one, kept) : contract_as<float>(op, one, kept);
}

}  // namespace sinkhorn
