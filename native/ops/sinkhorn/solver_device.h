// How a team of blocks solves a term: half steps (step_device.h), after each of which every block
// decides alike what follows (control.h), and updates of the potentials.
#pragma once
#include "ops/sinkhorn/step_device.h"

namespace surprisal::sinkhorn {

// On sm_75 a block has less shared memory than the least product takes: plan() does not ask for it.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool kProductsFit = false;
static_assert(product_bytes(1) > 64 * 1024, "plan.h");
#else
constexpr bool kProductsFit = true;
#endif

// kProducts: scores of large problems are made by tensor cores.
template <class A, bool kProducts>
class Solver {
 public:
  __device__ Solver(const SolveWork& work, int64_t problem, Term term, const Team& team,
                    ControlMemory& memory, Tiles<A>& tiles, const A* held)
      : work_(work),
        job_(work.job),
        problem_(static_cast<int32_t>(problem)),
        term_(term),
        held_(held),
        team_(team),
        memory_(memory),
        tiles_(tiles) {}

  // Made anew where it is used: registers are scarce beside tensor cores.
  __device__ Place at() const { return cuda::load(job_.places + problem_); }
  __device__ const Facts* facts() const { return job_.facts + problem_; }
  __device__ double last_epsilon() const { return cuda::load(&facts()->epsilon); }
  // Of the half step to come.
  __device__ double epsilon() const { return cuda::load(&memory_.decision.next); }
  __device__ double* partial() const {
    const int64_t index =
        work_.plan.in_turn ? problem_ : int64_t{problem_} * 3 + static_cast<int>(term_);
    return work_.partial + index * work_.partial_stride;
  }
  __device__ bool self() const { return term_ != Term::cross; }
  __device__ int halves() const { return self() ? 1 : 2; }

  __device__ DevicePoints<A> points(int half) const {
    const bool second = term_ == Term::self_y || half == 1;
    const DeviceSide& side = second ? job_.y : job_.x;
    const int64_t start = second ? at().y : at().x, before = second ? job_.x.count : 0;
    DevicePoints<A> p;
    p.n = second ? at().m : at().n;
    p.potential = kept_of(job_, at(), term_, half == 1);
    p.seen = p.potential + p.n;
    p.softmin = p.seen + p.n;
    p.weight = side.weight + start;
    p.log_weight = side.log_weight + start;
    p.shift = side.shift + start;
    p.weighted = static_cast<A*>(work_.weighted) + (self() ? job_.x.count + job_.y.count : 0) +
                 before + start;
    p.rho = side.rho;
    p.mass = cuda::load(&facts()->mass[second]);
    return p;
  }

  __device__ Scores<A> scores(int half) const {
    Scores<A> s = held_scores<A>(job_, at(), term_, half == 1);
    if (!held_) return s;
    const int64_t pitch = (half == 1 ? s.rows : s.columns) | 1;
    s.z = held_;
    s.dtype = DTypeOf<A>::value;
    s.row_step = half == 1 ? 1 : pitch;
    s.column_step = half == 1 ? pitch : 1;
    s.label_cost = nullptr;
    return s;
  }

  // Inlined, as a half step is: a call would put the solver into memory.
  __device__ __forceinline__ void run(Outcome* outcome) {
    begin();
    for (bool done = false; !done;) {
      if (translates()) translate();
      for (int half = 0; half < halves() && !done; ++half) {
        const Part sums = step(half);
        const Decision next = decide(half, sums, points(half));
        fresh_ = fresh_ && half + 1 < halves();
        done = next.done;
        for (int side = next.from; side < next.to; ++side) {
          const double m = relax(points(side), next);
          if (cuda::thread_index() == 0) cuda::store(memory_.marginal + side, m);
        }
      }
    }
    end(outcome);
  }

 private:
  __device__ void begin() {
    if (cuda::thread_index() == 0) {
      Control control;
      Control::Options o;
      o.way = job_.geomloss ? Way::follow : self() ? Way::symmetrise : Way::balance;
      o.self = self();
      o.epsilon = last_epsilon();
      o.tolerance = job_.tolerance;
      o.scale = cuda::load(&facts()->scale);
      o.ratio = job_.kind == Cost::half_square ? 4 : 2;
      o.noise = 2 * static_cast<double>(std::numeric_limits<A>::epsilon());
      o.power = job_.power;
      o.scaling = job_.scaling;
      o.diameter = job_.geomloss ? cuda::load(job_.diameter) : 0;
      o.max_iterations = job_.max_iterations;
      control.begin(o);
      cuda::store(&memory_.control, control);
      Decision first;
      first.epsilon = first.next = control.epsilon;
      first.final = control.is_final();
      cuda::store(&memory_.decision, first);
      for (int side = 0; side < 2; ++side) cuda::store(memory_.marginal + side, points(side).mass);
    }
    cuda::sync_threads();  // the control is there
    const double unit = unit_of<A>(epsilon());
    for (int half = 0; half < halves(); ++half) {
      const DevicePoints<A> p = points(half);
      each_point(p.n, [&](int64_t i) {
        cuda::store(p.potential + i, 0.0);
        p.weigh(i, 0, unit);
      });
    }
    team_.meet();
  }

  template <class F>
  __device__ void each_point(int64_t n, F&& f) const {
    const int64_t step = team_.size * cuda::block_size();
    for (int64_t i = team_.rank * cuda::block_size() + cuda::thread_index(); i < n; i += step) f(i);
  }
  // The same by warps, of 32 points each, f giving what is added up; the team has met after it.
  template <class F>
  __device__ Part sum_points(int64_t n, F&& f) {
    const int warps = cuda::block_size() / cuda::kWarp;
    const int64_t parts = ceil_div(n, cuda::kWarp), step = team_.size * warps;
    for (int64_t p = team_.rank * warps + cuda::warp_index(); p < parts; p += step) {
      const int64_t i = p * cuda::kWarp + cuda::lane_index();
      Part part;
      if (i < n) part = f(i);
      part = lanes_total<cuda::kWarp>(part);
      if (cuda::lane_index() == 0) team_.put(p, part);
    }
    return team_.total(parts);
  }

  __device__ bool translates() const {
    return epsilon() == last_epsilon() && !self() && !job_.geomloss && !job_.balanced();
  }
  // The best (f + c, g - c), see dual.h.
  __device__ void translate() {
    cuda::sync_threads();  // the marginals are there
    const double a = cuda::load(memory_.marginal), b = cuda::load(memory_.marginal + 1);
    if (!(a > 0) || !(b > 0) || !(a < 1e300) || !(b < 1e300)) return;
    const double inverse =
        (job_.x.rho >= 0 ? 1 / job_.x.rho : 0) + (job_.y.rho >= 0 ? 1 / job_.y.rho : 0);
    const double c = std::log(a / b) / inverse, unit = unit_of<A>(epsilon());
    for (int half = 0; half < 2; ++half) {
      const DevicePoints<A> p = points(half);
      each_point(p.n, [&](int64_t i) {
        const double f = cuda::load(p.potential + i) + (half ? -c : c);
        cuda::store(p.potential + i, f);
        p.weigh(i, f, unit);
      });
    }
    team_.meet();
  }

  // f <- f + omega (damped softmin - f). Gives the sum of the marginals where they are relaxed.
  __device__ double relax(const DevicePoints<A>& p, const Decision& d) {
    const double damp = p.damp(d.epsilon), unit = unit_of<A>(d.next);
    const auto update = [&](int64_t i) {
      double f = cuda::load(p.potential + i);
      const double next = f + d.omega * (damp * cuda::load(p.softmin + i) - f);
      if (std::fabs(next) < 1e300) f = next;  // else the iterations end: control.h
      cuda::store(p.potential + i, f);
      p.weigh(i, f, unit);
      return f;
    };
    if (!p.relaxed()) {
      each_point(p.n, update);
      team_.meet();
      return p.mass;
    }
    const Part sum = sum_points(p.n, [&](int64_t i) {
      const double f = update(i);
      return Part{0, cuda::load(p.weight + i) * p.marginal(f), 0};
    });
    return sum.mass;
  }

  // Thread 0 of each block decides for its block.
  __device__ Decision decide(int half, const Part& sums, const DevicePoints<A>& own) {
    if (cuda::thread_index() == 0) {
      Control control = cuda::load(&memory_.control);
      const double wanted = own.relaxed() ? sums.mass : own.mass;
      const double relative = sums.error <= 0 ? 0 : sums.error / wanted;
      cuda::store(&memory_.decision,
                  control.after(half, {sums.error, sums.mass, sums.most, relative}));
      cuda::store(&memory_.control, control);
    }
    cuda::sync_threads();  // the decision is there
    return cuda::load(&memory_.decision);
  }

  // Softmins of the other side's potential at the points of a side.
  __device__ __forceinline__ Part step(int half) {
    RowStep<A, Solver> step(*this, half, self() ? 0 : 1 - half, unit_of<A>(epsilon()), team_,
                            memory_, tiles_);
    if constexpr (kProducts && kProductsFit) {
      if (has_products(at().n, at().m)) return product_step(step, half);
    }
    if constexpr (std::is_same_v<A, double>) {
      if (cuda::load(&facts()->scale) < epsilon() / 512) return step.weak(epsilon());
    }
    return step.run(fresh_);
  }
  // Both sides' softmins at once, or a measure's and itself's, take one power a pair.
  __device__ Part product_step(RowStep<A, Solver>& step, int half) {
    const bool squares = has_squares(at().n, at().m);
    const PassSums sums = squares && self()          ? PassSums::triangle
                          : squares && job_.geomloss ? PassSums::both
                                                     : PassSums::rows;
    double* columns = partial() + kMostBands * (at().n > at().m ? at().n : at().m);
    if (sums == PassSums::both && half == 1)
      return step.settle_chunks(columns, units_of(sums, at().n, at().m).bands());
    return step.by_products(product_sides(half), sums, partial(), columns);
  }
  __device__ ProductSides product_sides(int half) const {
    const auto halves = [&](bool second) {
      const DeviceSide& side = second ? job_.y : job_.x;
      const auto stride = static_cast<int>(halves_of(job_.width));
      return Halves{side.halves + (second ? at().y : at().x) * stride,
                    static_cast<int>(second ? at().m : at().n), stride};
    };
    const bool second = term_ == Term::self_y || half == 1;
    ProductSides sides;
    sides.x = halves(second);
    sides.y = halves(self() ? second : !second);
    sides.shrink = std::exp2(-2.0 * cuda::load(&facts()->power));
    sides.split = cuda::load(&facts()->low);
    return sides;
  }

  // After the last softmins: what backward needs, and the value.
  __device__ void end(Outcome* outcome) {
    Part total;
    for (int half = 0; half < halves(); ++half) {
      const DevicePoints<A> p = points(half);
      const double damp = p.damp(last_epsilon());
      // Of a symmetric problem the value at (softmin f, f) is larger than that at (f, f).
      const bool stepped = self() && !job_.geomloss;
      add(total, sum_points(p.n, [&](int64_t i) {
            double f = cuda::load(p.potential + i);
            const double w = cuda::load(p.weight + i), next = damp * cuda::load(p.softmin + i);
            cuda::store(p.seen + i, f);
            Part part;
            if (stepped) part = {w * p.reward(next), w * p.marginal_excess(next), 0};
            if (!stepped && half == 0) part.mass = w * p.marginal_excess(f);
            if (job_.geomloss) {
              f = next;
              cuda::store(p.potential + i, f);
            }
            part.error += w * p.reward(f) * reward_scale(p.rho);
            return part;
          }));
    }
    if (team_.rank > 0 || cuda::thread_index() > 0) return;
    const Control control = cuda::load(&memory_.control);
    Outcome out;
    out.iterations = static_cast<double>(control.iterations);
    out.error = control.error;
    out.converged = control.converged;
    const double x = points(0).mass, y = points(halves() - 1).mass;
    // The plan's mass less that of the product of the measures. Where the rows' marginal holds it
    // follows from their potentials: epsilon would multiply the rounding of a sum.
    const double excess = job_.geomloss ? control.mass - x * y : total.mass + x * (1 - y);
    out.value = self() && job_.geomloss ? 2 * total.error : total.error;
    if (!counted()) out.value -= last_epsilon() * excess;
    cuda::store(outcome, out);
  }
  // GeomLoss's value, where both marginals are relaxed or none, has no term of the plan's mass.
  __device__ bool counted() const {
    const bool x = term_ == Term::self_y ? job_.y.rho >= 0 : job_.x.rho >= 0;
    const bool y = term_ == Term::self_x ? x : job_.y.rho >= 0;
    return job_.geomloss && x == y;
  }
  __device__ double reward_scale(double rho) const {
    return counted() && rho >= 0 ? 1 + last_epsilon() / (2 * rho) : 1;
  }

  const SolveWork& work_;
  const Job& job_;
  const int32_t problem_;
  const Term term_;
  const A* held_;
  Team team_;
  ControlMemory& memory_;
  Tiles<A>& tiles_;
  bool fresh_ = true;
};

}  // namespace surprisal::sinkhorn
