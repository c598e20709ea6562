// How a team of blocks solves a term. For each row i: s_i = sum over j of
// 2^(k Z_ij + guess_i + weighted_j), where guess_i is the row's own potential, so that s_i is near
// 1, no maximum is needed and s_i - 1 is the error of the row's marginal; rows whose sum leaves the
// range (or has no guess) are done again from their maximum. D FMA, one exponential and three more
// instructions a pair; of memory, the columns' points once for the rows of a block.
#pragma once
#include "ops/sinkhorn/control.h"
#include "ops/sinkhorn/passes_device.h"
#include "ops/sinkhorn/points_device.h"
#include "ops/sinkhorn/team.h"

namespace surprisal::sinkhorn {

struct ControlMemory {
  Control control;
  Decision decision;
  Part segments[kSegments];
  int32_t fine[kMostThreads / cuda::kWarp];
};
static_assert(sizeof(ControlMemory) <= kControlBytes, "plan.h");

template <class A>
class Solver {
 public:
  __device__ Solver(const SolveWork& work, int64_t problem, Term term, const Team& team,
                    ControlMemory& memory, Tiles<A>& tiles, const A* held)
      : job_(work.job),
        at_(cuda::load(work.job.places + problem)),
        facts_(work.job.facts + problem),
        diameter_(work.job.diameter),
        weighted_(static_cast<A*>(work.weighted)),
        term_(term),
        held_(held),
        team_(team),
        memory_(memory),
        tiles_(tiles) {}

  __device__ bool self() const { return term_ != Term::cross; }
  __device__ int halves() const { return self() ? 1 : 2; }

  __device__ DevicePoints<A> points(int half) const {
    const bool second = term_ == Term::self_y || half == 1;
    const DeviceSide& side = second ? job_.y : job_.x;
    const int64_t start = second ? at_.y : at_.x, before = second ? job_.x.count : 0;
    DevicePoints<A> p;
    p.n = second ? at_.m : at_.n;
    p.potential = kept_of(job_, at_, term_, half == 1);
    p.seen = p.potential + p.n;
    p.softmin = p.seen + p.n;
    p.weight = side.weight + start;
    p.log_weight = side.log_weight + start;
    p.shift = side.shift + start;
    p.weighted = weighted_ + (self() ? job_.x.count + job_.y.count : 0) + before + start;
    p.rho = side.rho;
    p.mass = cuda::load(&facts_->mass[second]);
    return p;
  }

  __device__ Scores<A> scores(int half) const {
    Scores<A> s = held_scores<A>(job_, at_, term_, half == 1);
    if (!held_) return s;
    const int64_t pitch = (half == 1 ? s.rows : s.columns) | 1;
    s.z = held_;
    s.dtype = DTypeOf<A>::value;
    s.row_step = half == 1 ? 1 : pitch;
    s.column_step = half == 1 ? pitch : 1;
    s.label_cost = nullptr;
    return s;
  }

  __device__ void run(Outcome* outcome) {
    begin();
    double marginal[2] = {points(0).mass, points(1).mass};
    for (bool done = false; !done;) {
      if (translates()) {
        translate(marginal[0], marginal[1]);
      }
      for (int half = 0; half < halves() && !done; ++half) {
        const DevicePoints<A> own = points(half);
        const Part sums = step(half, own);
        Decision next = decide(half, sums, own);
        fresh_ = fresh_ && half + 1 < halves();
        done = next.done;
        for (int side = next.from; side < next.to; ++side) {
          const double m = relax(points(side), next);
          if (side == 0) {
            marginal[0] = m;
          } else {
            marginal[1] = m;
          }
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
      o.epsilon = job_.epsilon;
      o.tolerance = job_.tolerance;
      o.scale = cuda::load(&facts_->scale);
      o.ratio = job_.kind == Cost::half_square ? 4 : 2;
      o.noise = 2 * static_cast<double>(std::numeric_limits<A>::epsilon());
      o.power = job_.power;
      o.scaling = job_.scaling;
      o.diameter = job_.geomloss ? cuda::load(diameter_) : 0;
      o.max_iterations = job_.max_iterations;
      control.begin(o);
      cuda::store(&memory_.control, control);
      Decision first;
      first.epsilon = first.next = control.epsilon;
      first.final = control.is_final();
      cuda::store(&memory_.decision, first);
    }
    cuda::sync_threads();  // the control is there
    epsilon_ = cuda::load(&memory_.decision.epsilon);
    final_ = cuda::load(&memory_.decision.final);
    const double unit = unit_of<A>(epsilon_);
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
    return final_ && !self() && !job_.geomloss && !job_.balanced();
  }
  // The best (f + c, g - c), see dual.h.
  __device__ void translate(double a, double b) {
    if (!(a > 0) || !(b > 0) || !(a < 1e300) || !(b < 1e300)) return;
    const double inverse =
        (job_.x.rho >= 0 ? 1 / job_.x.rho : 0) + (job_.y.rho >= 0 ? 1 / job_.y.rho : 0);
    const double c = std::log(a / b) / inverse, unit = unit_of<A>(epsilon_);
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
    const Decision d = cuda::load(&memory_.decision);
    epsilon_ = d.next;
    final_ = d.next == job_.epsilon;
    return d;
  }

  // Whether all warps of the block say so.
  __device__ bool all_fine(bool fine) {
    const int warps = cuda::block_size() / cuda::kWarp;
    if (warps == 1) return fine;
    if (cuda::lane_index() == 0) cuda::store(memory_.fine + cuda::warp_index(), int32_t{fine});
    cuda::sync_threads();  // every warp has said it
    for (int w = 0; w < warps; ++w) fine = fine && cuda::load(memory_.fine + w);
    cuda::sync_threads();  // everybody has heard it
    return fine;
  }

  // Softmins of the other side's potential at every point of `own`.
  __device__ Part step(int half, const DevicePoints<A>& own) {
    const Scores<A> s = scores(half);
    const A* other = points(self() ? 0 : 1 - half).weighted;
    const int rows = cuda::block_size() / cuda::kWarp * kWarpRows;
    const A k = unit_of<A>(epsilon_);
    for (int64_t i = team_.rank * rows; i < own.n; i += team_.size * rows) {
      const int64_t first = i + cuda::warp_index() * kWarpRows;
      A guess[kWarpRows];
      double sum[kWarpRows];
      bool again = fresh_;
#pragma unroll
      for (int r = 0; r < kWarpRows; ++r) {
        const int64_t row = first + r < own.n ? first + r : own.n - 1;
        const double f = cuda::load(own.potential + row) - cuda::load(own.shift + row);
        guess[r] = static_cast<A>(static_cast<double>(k) * f);
        sum[r] = 0;
      }
      // First as it is, then, if need be, from the maxima.
      for (int round = fresh_ ? 1 : 0; round < 2; ++round) {
        A row[kWarpRows];
        if (round == 1) {
          most_of_rows(s, tiles_, i, k, other, row);
        } else {
#pragma unroll
          for (int r = 0; r < kWarpRows; ++r) row[r] = guess[r];
        }
        double found[kWarpRows];
        sums_of_rows(s, tiles_, i, k, row, other, found);
        bool fine = true;
#pragma unroll
        for (int r = 0; r < kWarpRows; ++r) {
          if (round == 0 || again || !in_range<A>(sum[r])) {
            guess[r] = row[r];
            sum[r] = found[r];
          }
          fine = fine && (first + r >= own.n || in_range<A>(sum[r]));
        }
        if (round == 0 && all_fine(fine)) break;
      }
      put_rows(own, first, static_cast<double>(k), guess, sum);
    }
    return team_.total(ceil_div(own.n, kWarpRows));
  }

  // Lane r has row r.
  __device__ void put_rows(const DevicePoints<A>& own, int64_t first, double unit,
                           const A (&guess)[kWarpRows], const double (&sum)[kWarpRows]) {
    if (first >= own.n) return;
    Part part;
    const int lane = cuda::lane_index();
    if (lane < kWarpRows && first + lane < own.n) {
      double g = static_cast<double>(guess[0]), s = sum[0];
#pragma unroll
      for (int r = 1; r < kWarpRows; ++r) {
        if (lane == r) {
          g = static_cast<double>(guess[r]);
          s = sum[r];
        }
      }
      const int64_t i = first + lane;
      const double f = cuda::load(own.potential + i), w = cuda::load(own.weight + i);
      const double softmin = (g - std::log2(s)) / unit + cuda::load(own.shift + i);
      const double share = std::exp2(unit * (f - softmin));
      cuda::store(own.softmin + i, softmin);
      part = {w > 0 ? w * std::fabs(share - own.marginal(f)) : 0, w > 0 ? w * share : 0,
              std::fabs(f)};
    }
    part = lanes_total<kWarpRows>(part);
    if (lane == 0) team_.put(first / kWarpRows, part);
  }

  // After the last softmins: what backward needs, and the value.
  __device__ void end(Outcome* outcome) {
    Part total;
    for (int half = 0; half < halves(); ++half) {
      const DevicePoints<A> p = points(half);
      const double damp = p.damp(job_.epsilon);
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
    if (!counted()) out.value -= job_.epsilon * excess;
    cuda::store(outcome, out);
  }
  // GeomLoss's value, where both marginals are relaxed or none, has no term of the plan's mass.
  __device__ bool counted() const {
    const bool x = term_ == Term::self_y ? job_.y.rho >= 0 : job_.x.rho >= 0;
    const bool y = term_ == Term::self_x ? x : job_.y.rho >= 0;
    return job_.geomloss && x == y;
  }
  __device__ double reward_scale(double rho) const {
    return counted() && rho >= 0 ? 1 + job_.epsilon / (2 * rho) : 1;
  }

  const Job& job_;
  const Place at_;
  const Facts* facts_;
  const double* diameter_;
  A* weighted_;
  const Term term_;
  const A* held_;
  Team team_;
  ControlMemory& memory_;
  Tiles<A>& tiles_;
  double epsilon_ = 0;
  bool final_ = false, fresh_ = true;
};

}  // namespace surprisal::sinkhorn
