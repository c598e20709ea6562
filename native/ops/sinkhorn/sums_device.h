// Sums over a plan's rows: see device.h. Tiles of e as in the solve; a warp multiplies those of its
// four rows with up to 32 values of the columns, which its lanes share with columns where there are
// fewer. More values: the scores again, or those held.
#pragma once
#include "ops/sinkhorn/scores_device.h"

namespace surprisal::sinkhorn {

constexpr int kSumThreads = 128;
constexpr int kSumWarps = kSumThreads / cuda::kWarp;
constexpr int kSumRows = kSumWarps * kWarpRows;

template <class A>
struct SumMemory {
  Tiles<A> tiles;
  A e[kSumWarps][kWarpRows][kColumns];
  A value[cuda::kWarp][kColumns + 1];
};

// Of a problem's rows or columns: where they begin, how many, their potentials.
struct SidePart {
  int64_t start = 0, n = 0;
  const double* kept = nullptr;
};
__device__ inline SidePart part_of(const Rows& rows, const Place& at, bool columns) {
  const bool second =
      rows.term == Term::cross ? rows.transposed != columns : rows.term == Term::self_y;
  return {second ? at.y : at.x, second ? at.m : at.n,
          kept_of(rows.job, at, rows.term, rows.term == Term::cross && second)};
}
__device__ inline bool is_second(const Rows& rows, bool columns) {
  return rows.term == Term::cross ? rows.transposed != columns : rows.term == Term::self_y;
}

template <class A>
__device__ inline A unit_of(const Job& job, int64_t problem) {
  return unit_of<A>(cuda::load(&job.facts[problem].epsilon));
}

constexpr int kExponentThreads = 256;

// Blocks of a problem: `each`.
template <class A>
__global__ void __launch_bounds__(kExponentThreads)
    sinkhorn_exponents_kernel(const __grid_constant__ Rows rows, int64_t each) {
  const Job& job = rows.job;
  const int64_t problem = cuda::block_index() / each;
  const Place at = cuda::load(job.places + problem);
  if (!counts(job, problem) || !is_own<A>(job, problem)) return;
  const double unit = unit_of<A>(job, problem);
  for (int side = 0; side < 2; ++side) {
    const bool columns = side == 1, second = is_second(rows, columns);
    const SidePart part = part_of(rows, at, columns);
    const double* shift = (second ? job.y.shift : job.x.shift) + part.start;
    const double* log = (second ? job.y.log_weight : job.x.log_weight) + part.start;
    const int64_t which = rows.at_potentials ? 0 : columns ? 1 : 2;
    A* to = (columns ? in_type<A>(rows.column, rows.column_wide)
                     : in_type<A>(rows.row, rows.row_wide)) +
            part.start;
    const int64_t first = cuda::block_index() % each * kExponentThreads + cuda::thread_index();
    for (int64_t i = first; i < part.n; i += each * kExponentThreads) {
      const double f = cuda::load(part.kept + which * part.n + i) - cuda::load(shift + i);
      const double w = columns ? cuda::load(log + i) : 0;
      cuda::store(to + i, w > -1e300 ? static_cast<A>(unit * f + w) : kNothing<A>);
    }
  }
}

// m_i of a row, weight e^(-f/rho).
__device__ inline double row_mass(const Rows& rows, const SidePart& own, int64_t i) {
  const Job& job = rows.job;
  const bool second = is_second(rows, false);
  const double rho = second ? job.y.rho : job.x.rho;
  const double w = cuda::load((second ? job.y.weight : job.x.weight) + own.start + i);
  if (rows.at_potentials || rho < 0) return w;
  return w * std::exp(-cuda::load(own.kept + i) / rho);
}

template <class A>
struct RowSums {
  A value[kWarpRows];  // of the lane's value
  double plain[kWarpRows], weighted[kWarpRows];
};

template <class A>
class Summer {
 public:
  __device__ Summer(const SumWork& work, SumMemory<A>& memory, int64_t problem)
      : w_(work),
        rows_(work.rows),
        job_(work.rows.job),
        memory_(memory),
        problem_(problem),
        at_(cuda::load(work.rows.job.places + problem)),
        divides_(job_.kind == Cost::distance && work.values == Values::points),
        s_(held_scores<A>(work.rows.job, at_, work.rows.term, work.rows.transposed)) {
    // Distances are what is divided by: labels are added to them later.
    if (!divides_ || !job_.labels) return;
    s_ = scores_of<A>(job_, at_, rows_.term, rows_.transposed);
    label_cost_ = s_.label_cost;
    s_.label_cost = nullptr;
  }

  // Rows from i on, values from `first` on.
  __device__ void run(int64_t i, int64_t first) {
    if (i >= s_.rows) return;
    const int64_t left = w_.width - first;
    const int width = static_cast<int>(left < cuda::kWarp ? left : cuda::kWarp);
    int lanes = 1;
    while (lanes < width) lanes *= 2;
    RowSums<A> sums{};
    for (int64_t j = 0; j < s_.columns; j += kColumns) {
      load_values(j, first, width);
      add_tile(i, j, lanes, width, &sums);
    }
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) {
      for (int mask = lanes; mask < cuda::kWarp; mask *= 2)
        sums.value[r] += cuda::shuffle_xor(sums.value[r], mask);
      sums.plain[r] = cuda::warp_sum(sums.plain[r]);
      sums.weighted[r] = cuda::warp_sum(sums.weighted[r]);
    }
    const int64_t own = i + cuda::warp_index() * kWarpRows;
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) {
      if (own + r < s_.rows && cuda::lane_index() < width)
        put(own + r, first + cuda::lane_index(), sums.value[r], sums.plain[r], sums.weighted[r]);
    }
  }

 private:
  __device__ A value_at(int64_t j, int64_t f) const {
    const SidePart part = part_of(rows_, at_, true);
    if (w_.values == Values::points) return cuda::load(s_.y + f * s_.y_stride + j);
    if (w_.values == Values::given)
      return static_cast<A>(w_.given[(part.start + j) * w_.width + f]);
    const int32_t* label = is_second(rows_, true) ? job_.y.label : job_.x.label;
    return cuda::load(label + part.start + j) == w_.first + f ? A(1) : A(0);
  }
  __device__ void load_values(int64_t j, int64_t first, int width) {
    cuda::sync_threads();  // everybody is done with the values before
    for (int t = cuda::thread_index(); t < width * kColumns; t += kSumThreads) {
      const bool by_value = w_.values == Values::given;
      const int f = by_value ? t % width : t / kColumns, c = by_value ? t / width : t % kColumns;
      cuda::store(&memory_.value[f][c], j + c < s_.columns ? value_at(j + c, first + f) : A(0));
    }
    cuda::sync_threads();  // the values are there
  }

  __device__ void add_tile(int64_t i, int64_t j, int lanes, int width, RowSums<A>* sums) {
    Tile<A> z;
    score_tile(s_, memory_.tiles, i, j, z);
    const int warp = cuda::warp_index(), lane = cuda::lane_index();
    const int64_t own = i + warp * kWarpRows;
    const A scale = unit_of<A>(job_, problem_) * s_.sign;
    // GeomLoss's distance is flat below 1e-4.
    const A least = job_.geomloss ? A(1.00001e-4) : A(0);
    const A* columns =
        in_type<A>(rows_.column, rows_.column_wide) + part_of(rows_, at_, true).start;
    const A* exponents = in_type<A>(rows_.row, rows_.row_wide) + part_of(rows_, at_, false).start;
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) {
      const A row = own + r < s_.rows ? cuda::load(exponents + own + r) : kNothing<A>;
      A plain = 0, weighted = 0;
#pragma unroll
      for (int c = 0; c < kLaneColumns; ++c) {
        const int64_t column = j + lane + c * cuda::kWarp;
        A e = 0;
        if (column < s_.columns)
          e = power_of_two(scale * labelled(z[r][c], own + r, column) +
                           (cuda::load(columns + column) + row));
        plain += e;
        if (divides_) e = -z[r][c] > least ? e / -z[r][c] : A(0);
        weighted += e;
        cuda::store(&memory_.e[warp][r][lane + c * cuda::kWarp], e);
      }
      sums->plain[r] += static_cast<double>(plain);
      sums->weighted[r] += static_cast<double>(weighted);
    }
    cuda::sync_warp();  // the warp's e are there
    const int place = lane % lanes, step = cuda::kWarp / lanes;
    const int f = place < width ? place : 0;
    for (int c = lane / lanes; c < kColumns; c += step) {
      const A v = cuda::load(&memory_.value[f][c]);
#pragma unroll
      for (int r = 0; r < kWarpRows; ++r) sums->value[r] += cuda::load(&memory_.e[warp][r][c]) * v;
    }
    cuda::sync_warp();  // the e have been read
  }

  __device__ A labelled(A z, int64_t i, int64_t j) const {
    return label_cost_ && i < s_.rows ? z - label_cost_at(s_, label_cost_, i, j) : z;
  }

  __device__ void put(int64_t i, int64_t f, A mean, double plain, double weighted) const {
    const SidePart own = part_of(rows_, at_, false);
    const int64_t to = (own.start + i) * w_.width + f;
    const double mass = row_mass(rows_, own, i);
    if (w_.out) return w_.out.set(to, mass * static_cast<double>(mean));
    const double upstream = rows_.upstream.weight(problem_);
    const double scale = w_.factor * upstream * mass / plain;
    if (scale == 0) return;
    const double pull = job_.kind == Cost::cosine ? 0 : weighted;
    const double x = cuda::load(s_.x + f * s_.x_stride + i);
    cuda::store(w_.sums + to, cuda::load(w_.sums + to) + scale * (pull * x - mean));
  }

  const SumWork& w_;
  const Rows& rows_;
  const Job& job_;
  SumMemory<A>& memory_;
  const int64_t problem_;
  const Place at_;
  const bool divides_;
  Scores<A> s_;
  const A* label_cost_ = nullptr;
};

template <class A>
__global__ void __launch_bounds__(kSumThreads, 4)
    sinkhorn_sums_kernel(const __grid_constant__ SumWork work, int64_t blocks, int64_t parts) {
  const int64_t problem = cuda::block_index() / (blocks * parts);
  if (!counts(work.rows.job, problem) || !is_own<A>(work.rows.job, problem)) return;
  const int64_t rest = cuda::block_index() % (blocks * parts);
  Summer<A>(work, cuda::shared<SumMemory<A>>(), problem)
      .run(rest % blocks * kSumRows, rest / blocks * cuda::kWarp);
}

// Z of one pair.
template <class A>
__device__ inline A score_of_pair(const Scores<A>& s, int64_t i, int64_t j) {
  if (s.z) return score_at(s, i, j);
  A z = 0;
  const bool squares = s.kind == Cost::distance;
  for (int64_t k = 0; k < s.depth; ++k) {
    const A x = cuda::load(s.x + k * s.x_stride + i), y = cuda::load(s.y + k * s.y_stride + j);
    const A d = squares ? x - y : x;
    z += d * (squares ? d : y);
  }
  if (squares) z = -std::sqrt(z > s.floor ? z : s.floor);
  if (s.label_cost) z -= label_cost_at(s, s.label_cost, i, j);
  return z;
}

template <class A>
__global__ void __launch_bounds__(kExponentThreads)
    sinkhorn_entries_kernel(const __grid_constant__ EntryWork work) {
  const Rows& rows = work.rows;
  const int64_t at = cuda::block_index() * kExponentThreads + cuda::thread_index();
  if (at >= rows.job.batch * work.pairs) return;
  const int64_t problem = at / work.pairs, pair = at % work.pairs;
  const Place place = cuda::load(rows.job.places + problem);
  if (!is_own<A>(rows.job, problem)) return;
  if (!counts(rows.job, problem)) {
    work.out.set(at, 0);
    return;
  }
  const Scores<A> s = scores_of<A>(rows.job, place, Term::cross, false);
  const int64_t i = pair / place.m, j = pair % place.m;
  const A scale = unit_of<A>(rows.job, problem) * s.sign;
  const A row = cuda::load(in_type<A>(rows.row, rows.row_wide) + place.x + i);
  const A column = cuda::load(in_type<A>(rows.column, rows.column_wide) + place.y + j);
  const A e = power_of_two(scale * score_of_pair(s, i, j) + (column + row));
  const double mass = row_mass(rows, part_of(rows, place, false), i);
  work.out.set(at, rows.upstream.weight(problem) * mass * static_cast<double>(e));
}

template <class A>
void make_exponents(const Rows& rows, cuda::Stream& stream) {
  const int64_t most = ceil_div(rows.job.x.count + rows.job.y.count, rows.job.batch);
  const int64_t each = ceil_div(most, kExponentThreads);
  cuda::launch(stream, sinkhorn_exponents_kernel<A>, {rows.job.batch * each, kExponentThreads},
               rows, each);
}

template <class A>
void add_sums(const SumWork& work, int64_t most, cuda::Stream& stream) {
  const int64_t blocks = ceil_div(most, kSumRows), parts = ceil_div(work.width, cuda::kWarp);
  cuda::launch(stream, sinkhorn_sums_kernel<A>,
               {work.rows.job.batch * blocks * parts, kSumThreads, int64_t{sizeof(SumMemory<A>)}},
               work, blocks, parts);
}

template <class A>
void write_entries(const EntryWork& work, cuda::Stream& stream) {
  const int64_t count = work.rows.job.batch * work.pairs;
  cuda::launch(stream, sinkhorn_entries_kernel<A>,
               {ceil_div(count, kExponentThreads), kExponentThreads}, work);
}

}  // namespace surprisal::sinkhorn
