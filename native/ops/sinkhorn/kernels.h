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

template <class A>
Outcome solve_as(const Problem& op, const Instance& one, int64_t workspace, const Kept& kept) {
  const Geometry<A> geometry(op, one, workspace);
  Outcome out;
  {
    const auto z = geometry.cross();
    Side<A> x(one.x, one.x.n), y(one.y, one.y.n);
    Dual<A> dual(*z, x, y, op.epsilon, one.scale);
    out = op.geomloss ? follow(op, one, dual) : balance(op, one, dual);
    keep(x, kept.x);
    keep(y, kept.y);
  }
  if (!op.debias) return out;
  const Outcome own[] = {solve_self(op, one, geometry, geometry.x(), kept.xx),
                         solve_self(op, one, geometry, geometry.y(), kept.yy)};
  for (const Outcome& self : own) {
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

Outcome solve(const Problem& op, const Instance& one, int64_t workspace, const Kept& kept,
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
