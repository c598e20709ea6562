// A matrix of a team: lanes of a warp, a block, or blocks that wait for each other. Two meetings a
// step. K lies in shared memory (a block's own rows of it) or in scratch, as numbers of type C: an
// entry's power is taken once. A row's sum is one thread's, or lanes' of a warp; a column's is made
// of those of chunks of rows, in their order: the same bits for any number of blocks.
#pragma once
#include "ops/sinkhorn_knopp/team_device.h"

namespace surprisal::sinkhorn_knopp {

struct TeamWork : Work {
  Teams plan;
  uint32_t* counters = nullptr;  // (count) teams' meetings
  void* extents = nullptr;       // (count, blocks, 3) of C
  void* scratch = nullptr;       // (count, plan.numbers) of C
  int64_t kept = 0;              // numbers beside K
};

constexpr int kMostWarps = most_threads(false) / cuda::kWarp;

// Before K in shared memory, in blocks that are a team or part of one.
template <class C>
struct Shared {
  C extents[3 * kMostWarps];
};

template <class C, bool kGradient>
class Scaler {
 public:
  __device__ explicit Scaler(const TeamWork& work)
      : w_(work),
        team_(work.plan.each, work.plan.blocks, work.counters),
        n_(static_cast<int>(work.n)),
        m_(static_cast<int>(work.m)),
        ld_(m_ | 1),
        chunk_(static_cast<int>(rows_of_chunk(work.n))) {
    const bool whole = work.plan.each > cuda::kWarp;
    unsigned char* at = &cuda::shared<unsigned char>();
    extents_ = reinterpret_cast<C*>(at);
    if (whole) at += sizeof(Shared<C>);
    const int rows = static_cast<int>(work.plan.chunks) * chunk_;
    const int64_t held = int64_t{rows < n_ ? rows : n_} * ld_;
    C* here = reinterpret_cast<C*>(at);
    if (!whole) {
      const int64_t kept = work.plan.kept_here ? work.kept : 0;
      here += cuda::thread_index() / work.plan.each * (held + kept);
    }
    C* far = static_cast<C*>(work.scratch) + team_.slot() * work.plan.numbers;
    first_ = team_.rank() * rows;
    last_ = first_ + rows < n_ ? first_ + rows : n_;
    if (work.plan.held) {
      k_ = here - int64_t{first_} * ld_;
      here += held;
    } else {
      k_ = far;
      far += int64_t{n_} * ld_;
    }
    // Of rows, then of columns: sums; vectors of each step; in backward a or b of each,
    // derivatives.
    C* next = work.plan.kept_here ? here : far;
    steps_ = kGradient ? work.iterations + 1 : 1;
    const int64_t each = 1 + steps_ + (kGradient ? steps_ + 1 : 0);
    rows_ = next;
    columns_ = next + each * n_;
    parts_ = columns_ + each * m_;
  }

  __device__ void run() {
    const int64_t count = w_.matrices.count();
    // Lanes of a warp meet, also those that have no matrix left.
    for (int64_t first = 0; first < count; first += w_.plan.count) {
      const int64_t k = first + team_.slot();
      matrix_ = w_.matrices.at(k < count ? k : count - 1);
      scale(k < count);
      team_.meet();  // what this matrix was iterated with has been read
    }
  }

 private:
  // f(i, j) for the block's own elements; neighbours have neighbours of a row.
  template <class F>
  __device__ void each(F&& f) const {
    int lanes = 1;
    while (lanes < m_ && lanes < team_.size() && lanes < cuda::kWarp) lanes *= 2;
    const int rows = team_.size() / lanes;
    for (int i = first_ + team_.index() / lanes; i < last_; i += rows)
      for (int j = team_.index() % lanes; j < m_; j += lanes) f(i, j);
  }
  // f(i) for the rows of the block, or for the columns, which the team shares.
  template <class F>
  __device__ void each_of(bool rows, F&& f) {
    if (rows) {
      for (int i = first_ + team_.index(); i < last_; i += team_.size()) f(i);
    } else {
      for (int j = team_.place(); j < m_; j += team_.threads()) f(j);
    }
  }
  __device__ const C* row(int i) const { return k_ + int64_t{i} * ld_; }
  __device__ int64_t place(int i, int j) const { return matrix_ * w_.size() + int64_t{i} * m_ + j; }

  // f(i, sum) of the block's rows, or of all columns, where sum = add(sum, i, j) has added up. The
  // team (or, of rows, the block) sees what f wrote after; f writes nothing that add reads.
  template <class Add, class F>
  __device__ void sums(bool rows, Add&& add, F&& f) {
    if (!rows) return by_columns(add, f);
    const int lanes = m_ <= kThinColumns ? 1 : cuda::kWarp, own = team_.index() % lanes;
    for (int i = first_ + team_.index() / lanes; i < last_; i += team_.size() / lanes) {
      C sum = 0;
      for (int j = own; j < m_; j += lanes) sum = add(sum, i, j);
      if (lanes > 1) sum = cuda::warp_sum(sum);
      if (own == 0) f(i, sum);
    }
    team_.gather();  // what f wrote is there
  }
  template <class Add, class F>
  __device__ void by_columns(Add&& add, F&& f) {
    const int chunks = (n_ + chunk_ - 1) / chunk_, from = first_ / chunk_;
    const int own = (last_ - first_ + chunk_ - 1) / chunk_;
    int c = 0;
    for (int j = team_.index();; j += team_.size()) {
      for (; j >= m_ && c < own; ++c) j -= m_;
      if (c >= own) break;
      const int start = first_ + c * chunk_, end = start + chunk_ < last_ ? start + chunk_ : last_;
      C sum = 0;
      for (int i = start; i < end; ++i) sum = add(sum, i, j);
      if (chunks == 1) {
        f(j, sum);
      } else {
        cuda::store(parts_ + int64_t{from + c} * m_ + j, sum);
      }
    }
    team_.meet();  // the chunks' sums are there
    if (chunks == 1) return;
    for (int j = team_.place(); j < m_; j += team_.threads()) {
      C sum = cuda::load(parts_ + j);
      for (int p = 1; p < chunks; ++p) sum += cuda::load(parts_ + int64_t{p} * m_ + j);
      f(j, sum);
    }
    team_.meet();  // what f wrote is there, and the chunks' sums have been read
  }

  // Numbers of a side: 0 its sums, then u or v of every step, a or b of every step, derivatives.
  __device__ C* numbers(bool rows, int64_t k) const {
    return (rows ? rows_ : columns_) + k * (rows ? n_ : m_);
  }
  __device__ C* vector(bool rows, int64_t t) const {
    return numbers(rows, 1 + (kGradient ? t : 0));
  }
  __device__ C* factor(bool rows, int64_t t) const { return numbers(rows, 1 + steps_ + t); }
  __device__ C* slope(bool rows) const { return numbers(rows, 1 + 2 * steps_); }

  __device__ void scale(bool is_own) {
    Extent<C> extent;
    each([&](int i, int j) {
      const C x = element<C>(w_.x, w_.dtype, place(i, j));
      if (w_.matrix && x < 0) cuda::report_fault(w_.negative, place(i, j), bits_of_double(x), 0, 0);
      extent.add(x, w_.matrix);
    });
    const Entries<C> entries(w_, team_.merged(extent, static_cast<C*>(w_.extents), extents_));
    each([&](int i, int j) {
      cuda::store(k_ + int64_t{i} * ld_ + j, entries(element<C>(w_.x, w_.dtype, place(i, j))));
    });
    for (int side = 0; side < 2; ++side) {
      const bool rows = side == 0;
      each_of(rows, [&](int i) {
        const double sum = rows ? w_.row(matrix_, i) : w_.column(matrix_, i);
        cuda::store(numbers(rows, 0) + i, static_cast<C>(sum));
        cuda::store(vector(rows, 0) + i, C{1});
      });
    }
    team_.meet();  // K, the sums and the first vectors are there
    halves();
    if (!is_own) return;
    if (entries.fits || !entries.finite) {
      write(entries);
    } else if (team_.place() == 0) {
      w_.rest.put(matrix_);
    }
  }

  // Of a side's product with K: what becomes of its sums.
  enum class Use { vector, factor, slope };
  struct Half {
    Use use;
    bool rows;
    int64_t t;
  };
  // Forward and, as in cpu/matrix_scaling.h, back: there the side scaled first has a product with
  // the other's factors, then the other with these.
  __device__ void halves() {
    const bool rows_first = !w_.columns_first;
    const int64_t forward = 2 * w_.iterations, all = kGradient ? 2 * forward - 1 : forward;
    for (int64_t h = 0; h < all; ++h) {
      const bool is_first = h % 2 == 0;
      Half half{Use::vector, is_first == rows_first, h / 2 + 1};
      if (kGradient && h >= forward) {
        half.use = is_first ? Use::factor : Use::slope;
        half.t = w_.iterations - (h - forward) / 2;
        if (h == forward) begin_slopes();
        if (is_first) begin_factors(!half.rows, half.t);
      }
      product(half);
    }
  }
  __device__ void product(const Half& h) {
    const int64_t seen = h.rows == w_.columns_first ? h.t : h.t - 1;
    const C* by = h.use == Use::vector ? vector(!h.rows, seen) : factor(!h.rows, h.t);
    const C* sum_of = numbers(h.rows, 0);
    C* to = h.use == Use::vector ? vector(h.rows, h.t) : factor(h.rows, h.t);
    const auto add = [&](C sum, int i, int j) {
      return fused(cuda::load(row(i) + j), cuda::load(by + (h.rows ? j : i)), sum);
    };
    sums(h.rows, add, [&](int i, C sum) {
      if (h.use == Use::vector) return cuda::store(to + i, cuda::load(sum_of + i) * inverse(sum));
      if constexpr (kGradient) {
        C* g = slope(h.rows) + i;
        if (h.use == Use::slope)
          return cuda::store(g, -cuda::load(vector(h.rows, h.t - 1) + i) * sum);
        const C own = cuda::load(vector(h.rows, h.t) + i);
        const C r = inverse(cuda::load(sum_of + i));
        cuda::store(to + i, own * (cuda::load(g) - own * sum) * r);
        cuda::store(g, C{0});
      }
    });
  }

  __device__ C plan(int i, int j) const {
    const int64_t last = w_.iterations;
    return cuda::load(row(i) + j) * cuda::load(vector(true, last) + i) *
           cuda::load(vector(false, last) + j);
  }
  __device__ C upstream(int i, int j) const {
    return element<C>(w_.upstream, w_.upstream_dtype, place(i, j));
  }
  __device__ void begin_slopes() {
    for (int side = 0; side < 2; ++side) {
      const bool rows = side == 0;
      sums(
          rows, [&](C sum, int i, int j) { return sum + plan(i, j) * upstream(i, j); },
          [&](int i, C sum) { cuda::store(slope(rows) + i, sum); });
    }
  }
  __device__ void begin_factors(bool rows, int64_t t) {
    each_of(rows, [&](int i) {
      const C r = inverse(cuda::load(numbers(rows, 0) + i));
      const C own = cuda::load(vector(rows, t) + i);
      cuda::store(factor(rows, t) + i, own * cuda::load(slope(rows) + i) * r);
    });
    team_.meet();  // the factors are there
  }

  __device__ void write(const Entries<C>& entries) {
    const C nan = std::numeric_limits<C>::quiet_NaN();
    each([&](int i, int j) {
      C value = nan;
      if (entries.finite && kGradient)
        value = by_steps(i, j) * entries.scale * (w_.matrix ? C{1} : cuda::load(row(i) + j));
      if (entries.finite && !kGradient) value = plan(i, j);
      set_element<C>(w_.to, w_.dtype, place(i, j), value);
    });
  }
  __device__ C by_steps(int i, int j) const {
    const int64_t last = w_.iterations, before = w_.columns_first ? 1 : 0;
    const C *u = vector(true, 0) + i, *v = vector(false, 0) + j;
    const C *a = factor(true, 0) + i, *b = factor(false, 0) + j;
    C g = upstream(i, j) * cuda::load(u + last * n_) * cuda::load(v + last * m_);
    for (int64_t t = 1; t <= last; ++t) {
      const C by = cuda::load(u + (t - before) * n_) * cuda::load(b + t * m_);
      g -= fused(cuda::load(a + t * n_), cuda::load(v + (t - 1 + before) * m_), by);
    }
    return g;
  }

  const TeamWork& w_;
  Team team_;
  const int n_, m_, ld_, chunk_;
  int first_, last_;
  int64_t steps_, matrix_ = 0;
  C *extents_, *k_, *rows_, *columns_, *parts_;
};

template <class C, bool kGradient>
__global__ void __launch_bounds__(most_threads(kGradient), 1)
    sinkhorn_knopp_teams_kernel(const __grid_constant__ TeamWork work) {
  Scaler<C, kGradient>(work).run();
}

}  // namespace surprisal::sinkhorn_knopp
