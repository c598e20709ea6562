// Matrices whose numbers range too widely even for double, such as those masked by large finite
// numbers, by logarithms as core/log_scaling.h. All of a matrix's own numbers lie in scratch. A
// warp has a row; a block has 32 columns, each warp every eighth row of them: a step reads x once
// along its rows and takes one power an element. What adds up what is a matter of N and M alone, so
// any number of blocks gives the same bits: they share the matrices that there turn out to be.
#pragma once
#include "ops/sinkhorn_knopp/team_device.h"

namespace surprisal::sinkhorn_knopp {

struct LogWork : Work {
  Logs plan;
  uint32_t* counters = nullptr;  // (count) teams' meetings
  double* scratch = nullptr;     // (count, numbers)
};

constexpr int kLogWarps = kLogThreads / cuda::kWarp;

// Sums of a warp's lanes or of a block's warps; merge(a, b) gives the bits of merge(b, a).
struct Sum {
  double sum = 0;

  __device__ void merge(const Sum& other) { sum += other.sum; }
  __device__ Sum from_lane(int mask) const { return {cuda::shuffle_xor(sum, mask)}; }
};
// Of e^z: the largest z, and the sum of e^(z - top).
struct alignas(16) LogSum {
  double top = -INFINITY, sum = 0;

  __device__ void add(double z) {
    if (z == -INFINITY) return;
    const double power = exp_of(-fabs(z - top));
    sum = z > top ? fma(sum, power, 1.0) : sum + power;
    top = z > top ? z : top;
  }
  __device__ void merge(const LogSum& other) {
    if (other.sum == 0) return;
    const double power = exp_of(-fabs(other.top - top));
    const bool above = other.top > top;
    const double low = above ? sum : other.sum;
    sum = sum == 0 ? other.sum : fma(low, power, above ? other.sum : sum);
    top = above ? other.top : top;
  }
  __device__ LogSum from_lane(int mask) const {
    return {cuda::shuffle_xor(top, mask), cuda::shuffle_xor(sum, mask)};
  }
  // log of given/(sum of e^z)
  __device__ double potential(double given) const {
    if (sum == 0 || given == 0) return -INFINITY;
    return top == INFINITY ? top - top : log_of(given) - top - log_of(sum);
  }
};

class LogScaler {
 public:
  __device__ LogScaler(const LogWork& work, const Team& team) : w_(work), team_(team) {
    double* at = work.scratch + team_.slot() * work.plan.numbers;
    const int64_t steps = slot_of(last()) + 1;
    f_ = at;
    g_ = f_ + steps * work.n;
    if (!work.upstream) return;
    df_ = g_ + steps * work.m;
    dg_ = df_ + work.n;
    d_ = dg_ + work.m;
  }

  __device__ void run(int64_t first, int64_t apart) {
    const int64_t count = w_.matrices.count();
    for (int64_t k = first; k < count; k += apart) {
      matrix_ = w_.matrices.at(k);
      iterate();
      if (w_.upstream) {
        differentiate();
      } else {
        each([&](int64_t i, int64_t j) {
          set(i, j, is_empty(x(i, j)) ? 0 : share(i, j, last(), last()));
        });
      }
      team_.meet();  // what this matrix was iterated with has been read
    }
  }

 private:
  __device__ int64_t last() const { return w_.iterations; }
  // Where the potentials of a step lie: forward needs those of the last alone, and a side is made
  // from the other one.
  __device__ int64_t slot_of(int64_t t) const { return w_.upstream ? t : 0; }
  __device__ int64_t place(int64_t i, int64_t j) const {
    return matrix_ * w_.size() + i * w_.m + j;
  }
  __device__ double x(int64_t i, int64_t j) const {
    return cuda::number_at(w_.x, w_.dtype, place(i, j));
  }
  __device__ double s(double x) const { return w_.matrix ? log_of(x) : x / w_.temperature; }
  __device__ bool is_empty(double x) const { return w_.matrix ? !(x > 0) : x == -INFINITY; }
  __device__ void set(int64_t i, int64_t j, double value) const {
    cuda::set_number(w_.to, w_.dtype, place(i, j), value);
  }

  // f(i), or f(j), by any thread of the team.
  template <class F>
  __device__ void along(int64_t count, F&& f) const {
    for (int64_t i = team_.place(); i < count; i += team_.threads()) f(i);
  }
  // f(i) for the rows of a warp.
  template <class F>
  __device__ void each_row(F&& f) const {
    const int64_t warps = int64_t{team_.blocks()} * kLogWarps;
    for (int64_t i = team_.rank() * kLogWarps + cuda::warp_index(); i < w_.n; i += warps) f(i);
  }
  template <class F>
  __device__ void each(F&& f) const {
    each_row([&](int64_t i) {
      for (int64_t j = cuda::lane_index(); j < w_.m; j += cuda::kWarp) f(i, j);
    });
  }
  // f(i, what add(state, i, j) has made of the row), by one thread; all see after what f wrote.
  template <class State, class Add, class F>
  __device__ void by_rows(Add&& add, F&& f) {
    each_row([&](int64_t i) {
      State state;
      for (int64_t j = cuda::lane_index(); j < w_.m; j += cuda::kWarp) add(state, i, j);
#pragma unroll
      for (int mask = cuda::kWarp / 2; mask > 0; mask /= 2) state.merge(state.from_lane(mask));
      if (cuda::lane_index() == 0) f(i, state);
    });
    team_.meet();  // what f wrote is there
  }
  template <class State, class Add, class F>
  __device__ void by_columns(Add&& add, F&& f) {
    State* const memory = &cuda::shared<State>();
    const int64_t apart = int64_t{team_.blocks()} * cuda::kWarp;
    for (int64_t first = int64_t{team_.rank()} * cuda::kWarp; first < w_.m; first += apart) {
      const int64_t j = first + cuda::lane_index();
      State state;
      for (int64_t i = cuda::warp_index(); j < w_.m && i < w_.n; i += kLogWarps) add(state, i, j);
      cuda::store(memory + cuda::thread_index(), state);
      cuda::sync_threads();  // every warp's is there
      if (cuda::warp_index() == 0 && j < w_.m) {
        for (int w = 1; w < kLogWarps; ++w)
          state.merge(cuda::load(memory + w * cuda::kWarp + cuda::lane_index()));
        f(j, state);
      }
      cuda::sync_threads();  // they have been read
    }
    team_.meet();  // what f wrote is there
  }

  __device__ void scale_rows(int64_t t, int64_t with) {
    const double* g = g_ + slot_of(with) * w_.m;
    by_rows<LogSum>(
        [&](LogSum& sum, int64_t i, int64_t j) { sum.add(s(x(i, j)) + cuda::load(g + j)); },
        [&](int64_t i, const LogSum& sum) {
          cuda::store(f_ + slot_of(t) * w_.n + i, sum.potential(w_.row(matrix_, i)));
        });
  }
  __device__ void scale_columns(int64_t t, int64_t with) {
    const double* f = f_ + slot_of(with) * w_.n;
    by_columns<LogSum>(
        [&](LogSum& sum, int64_t i, int64_t j) { sum.add(s(x(i, j)) + cuda::load(f + i)); },
        [&](int64_t j, const LogSum& sum) {
          cuda::store(g_ + slot_of(t) * w_.m + j, sum.potential(w_.column(matrix_, j)));
        });
  }
  __device__ void iterate() {
    along(w_.n, [&](int64_t i) { cuda::store(f_ + i, 0.0); });
    along(w_.m, [&](int64_t j) { cuda::store(g_ + j, 0.0); });
    team_.meet();  // the first potentials are there
    for (int64_t t = 1; t <= last(); ++t) {
      if (w_.columns_first) scale_columns(t, t - 1);
      scale_rows(t, w_.columns_first ? t : t - 1);
      if (!w_.columns_first) scale_columns(t, t);
    }
  }
  // Of the plan after these potentials; in an empty place, of what e^S is multiplied by.
  __device__ double share(int64_t i, int64_t j, int64_t tf, int64_t tg) const {
    const double at = x(i, j), own = is_empty(at) ? 0 : s(at);
    const double f = cuda::load(f_ + slot_of(tf) * w_.n + i);
    return exp_of(own + f + cuda::load(g_ + slot_of(tg) * w_.m + j));
  }

  // df and dg are slopes of a side, over its sums once it is their turn to be taken from d.
  __device__ void differentiate() {
    each([&](int64_t i, int64_t j) {
      const double p = share(i, j, last(), last());
      const double up = p == 0 ? 0 : cuda::number_at(w_.upstream, w_.upstream_dtype, place(i, j));
      cuda::store(d_ + i * w_.m + j, up * p);
    });
    team_.meet();  // d is there
    const auto add = [&](Sum& sum, int64_t i, int64_t j) {
      if (!is_empty(x(i, j))) sum.sum += cuda::load(d_ + i * w_.m + j);
    };
    by_rows<Sum>(add, [&](int64_t i, const Sum& sum) {
      cuda::store(df_ + i, w_.columns_first ? over_row(sum.sum, i) : sum.sum);
    });
    by_columns<Sum>(add, [&](int64_t j, const Sum& sum) {
      cuda::store(dg_ + j, w_.columns_first ? sum.sum : over_column(sum.sum, j));
    });
    for (int64_t t = last(); t > 0; --t) {
      if (w_.columns_first) {
        back_rows(t, t);
        back_columns(t - 1, t);
      } else {
        back_columns(t, t);
        back_rows(t, t - 1);
      }
    }
    each([&](int64_t i, int64_t j) {
      const double d = cuda::load(d_ + i * w_.m + j), at = x(i, j);
      const bool none = is_empty(at);
      set(i, j, w_.matrix ? (none ? d : d / exp_of(s(at))) : none ? 0 : d / w_.temperature);
    });
  }
  __device__ double over_row(double x, int64_t i) const {
    const double r = w_.row(matrix_, i);
    return r == 0 ? 0 : x / r;
  }
  __device__ double over_column(double x, int64_t j) const {
    const double c = w_.column(matrix_, j);
    return c == 0 ? 0 : x / c;
  }
  // The rows' slopes are taken from d, which gives those of the columns, and are used up. Only the
  // side that was scaled before the last had some of its own.
  __device__ void back_rows(int64_t tf, int64_t tg) {
    by_columns<Sum>(
        [&](Sum& sum, int64_t i, int64_t j) { take(sum, i, j, tf, tg, cuda::load(df_ + i)); },
        [&](int64_t j, const Sum& sum) {
          const double before = w_.columns_first && tf == last() ? cuda::load(dg_ + j) : 0;
          cuda::store(dg_ + j, over_column(before - sum.sum, j));
        });
  }
  __device__ void back_columns(int64_t tf, int64_t tg) {
    by_rows<Sum>(
        [&](Sum& sum, int64_t i, int64_t j) { take(sum, i, j, tf, tg, cuda::load(dg_ + j)); },
        [&](int64_t i, const Sum& sum) {
          const double before = !w_.columns_first && tg == last() ? cuda::load(df_ + i) : 0;
          cuda::store(df_ + i, over_row(before - sum.sum, i));
        });
  }
  __device__ void take(Sum& sum, int64_t i, int64_t j, int64_t tf, int64_t tg, double by) const {
    if (by == 0) return;
    const double x = share(i, j, tf, tg) * by;
    double* const d = d_ + i * w_.m + j;
    cuda::store(d, cuda::load(d) - x);
    if (!is_empty(this->x(i, j))) sum.sum += x;
  }

  const LogWork& w_;
  Team team_;
  int64_t matrix_ = 0;
  double *f_, *g_, *df_ = nullptr, *dg_ = nullptr, *d_ = nullptr;
};

__global__ void __launch_bounds__(kLogThreads, 2)
    sinkhorn_knopp_logs_kernel(const __grid_constant__ LogWork work) {
  const int64_t count = work.matrices.count();
  const int64_t teams = count < work.plan.count ? count : work.plan.count;
  if (teams == 0) return;
  const int64_t blocks = work.plan.together ? cuda::grid_size() / teams : 1;
  if (cuda::block_index() >= teams * blocks) return;
  const Team team(kLogThreads, blocks, work.counters);
  LogScaler(work, team).run(team.slot(), teams);
}

}  // namespace surprisal::sinkhorn_knopp
