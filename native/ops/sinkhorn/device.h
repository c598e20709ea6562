// What the kernels share: the problems of a batch as they lie in device memory.
#pragma once
#include "cuda/launch.h"
#include "cuda/numbers.h"
#include "ops/sinkhorn/faults.h"
#include "ops/sinkhorn/op.h"
#include "ops/sinkhorn/plan.h"

namespace surprisal::sinkhorn {

// Where one problem's points, pairs and held scores begin.
struct Place {
  int64_t x = 0, n = 0, y = 0, m = 0;
  int64_t cost = 0;  // in a given cost, or in a plan
  // Of each term; no array, which kernels would keep in memory.
  int64_t held_cross = 0, held_x = 0, held_y = 0;
};

enum class Term : int32_t { cross, self_x, self_y };
SP_HOST_DEVICE inline int64_t held_of(const Place& at, Term term) {
  return term == Term::cross ? at.held_cross : term == Term::self_x ? at.held_x : at.held_y;
}

// What is known of a problem before it is solved.
struct Facts {
  double mass[2];
  double scale;      // C differs by about this much over the pairs
  double epsilon;    // what it is computed with: that of the job, or the least there can be
  uint32_t differs;  // x and y are not the same measure
  uint32_t bad;      // values were refused
  int32_t power;     // 2^power times coordinates are below 2^14
  uint32_t low;      // and not all of them halves then
  uint32_t wide;     // it is computed in double: see precision_of in instance.h
};

struct DeviceSide {
  cuda::Numbers points, given;  // (count, width); weights, absent: uniform
  const int32_t* label = nullptr;
  int64_t count = 0;  // over all problems
  double rho = -1;
  double *weight = nullptr, *log_weight = nullptr, *shift = nullptr;  // (count)
  // (width, count): a feature after the other, of the problems computed in float or double.
  float* centred = nullptr;
  double* centred_wide = nullptr;
  Float16* halves = nullptr;  // (count, halves_of(width)), see products_device.h; may be absent
};

struct Job {
  DeviceSide x, y;
  const Place* places = nullptr;  // (batch)
  Facts* facts = nullptr;         // (batch)
  int64_t batch = 0, width = 0, labels = 0;
  Cost kind = Cost::half_square;
  bool debias = false, geomloss = false;
  bool products = false;  // by tensor cores: points are rounded to two halves
  double epsilon = 0, tolerance = 0, power = 2, scaling = 0.5;
  int64_t max_iterations = 0;
  cuda::Numbers cost;          // of Cost::matrix
  uint64_t* range = nullptr;   // (batch, 2) of a given cost: see ordered_bits
  double* centre = nullptr;    // (batch, width)
  double* box = nullptr;       // (batch, width, 2)
  double* diameter = nullptr;  // (1) of all points
  // (2, labels, labels): W, its symmetric part.
  float* label_cost = nullptr;
  double* label_cost_wide = nullptr;
  // Scores in global memory; may be absent.
  float* held = nullptr;
  double* held_wide = nullptr;
  double* kept = nullptr;  // potentials, see kKept

  // Everything a problem has is 0: a measure and itself.
  SP_HOST_DEVICE bool cancels() const { return debias && !labels && x.rho == y.rho; }
  SP_HOST_DEVICE bool balanced() const { return x.rho < 0 && y.rho < 0; }
};

// What accumulators of type A see.
template <class A>
SP_HOST_DEVICE inline A* in_type(float* narrow, double* wide) {
  if constexpr (std::is_same_v<A, double>) {
    return wide;
  } else {
    return narrow;
  }
}

// Whether the problem has a plan that says something.
__device__ inline bool counts(const Job& job, int64_t problem) {
  const Facts* facts = job.facts + problem;
  return !cuda::load(&facts->bad) && !(job.cancels() && !cuda::load(&facts->differs));
}
// Whether the problem is computed in A.
template <class A>
__device__ inline bool is_own(const Job& job, int64_t problem) {
  return (cuda::load(&job.facts[problem].wide) != 0) == std::is_same_v<A, double>;
}

// Where a term's potentials of one side begin, for problem `at`.
SP_HOST_DEVICE inline double* kept_of(const Job& job, const Place& at, Term term, bool second) {
  const int64_t rows = job.x.count, columns = job.y.count;
  switch (term) {
    case Term::self_x:
      return job.kept + kKept * (rows + columns + at.x);
    case Term::self_y:
      return job.kept + kKept * (2 * rows + columns + at.y);
    default:
      return job.kept + kKept * (second ? rows + at.y : at.x);
  }
}

// Doubles in the order of their bits, for atomic_min.
SP_HOST_DEVICE inline uint64_t ordered_bits(double x) {
  union {
    double value;
    uint64_t bits;
  } u{x};
  return u.bits >> 63 ? ~u.bits : u.bits | uint64_t{1} << 63;
}
SP_HOST_DEVICE inline double from_ordered_bits(uint64_t bits) {
  union {
    uint64_t bits;
    double value;
  } u{bits >> 63 ? bits & ~(uint64_t{1} << 63) : ~bits};
  return u.value;
}

// --- cuda_measures.cu ----------------------------------------------------------------------------
// Fills weights, centres, facts and centred points, and refuses bad values.
void measure(const Problem& op, const Job& job, bool wide, cuda::Stream& stream);

// --- cuda_points.cu ------------------------------------------------------------------------------
void place_points(const Job& job, cuda::Stream& stream);

// --- cuda_results.cu -----------------------------------------------------------------------------
// One term's result.
struct Outcome {
  double value = 0, error = 0, iterations = 0;
  double converged = 1;
};
struct FinishWork {
  Job job;
  const Outcome* outcomes = nullptr;  // (batch, 3)
  cuda::NumbersOut value, f, g;       // f and g may be absent
  double* info = nullptr;             // (batch, 3)
};
void finish(const FinishWork& work, cuda::Stream& stream);

struct WeightWork {
  Job job;
  cuda::Numbers upstream;
  cuda::NumbersOut da, db;  // may be absent
};
void weight_gradients(const WeightWork& work, cuda::Stream& stream);

// dx = what was summed, made one of the points themselves.
struct PointWork {
  Job job;
  bool second = false;
  const double* sums = nullptr;  // (count, width)
  cuda::NumbersOut out;
};
void write_points(const PointWork& work, cuda::Stream& stream);

// --- cuda_solve_*.cu -----------------------------------------------------------------------------
struct SolveWork {
  Job job;
  Launches plan;
  void* weighted = nullptr;      // 2 (rows + columns) doubles, or floats
  uint32_t* counters = nullptr;  // (batch, 3), 0
  void* parts = nullptr;         // (batch, 3, 2, stride) Part, see Team
  int64_t stride = 0;
  double* partial = nullptr;  // (batch, 3 or in turn 1, partial_stride) sums of chunks
  int64_t partial_stride = 0;
  Outcome* outcomes = nullptr;  // (batch, 3)
};
template <class A>
void hold_scores(const Job& job, int64_t most, cuda::Stream& stream);
template <class A>
void run_solve(const SolveWork& work, cuda::Stream& stream);

// --- cuda_products.cu ----------------------------------------------------------------------------
void run_products(const SolveWork& work, cuda::Stream& stream);

// --- cuda_sums_*.cu ------------------------------------------------------------------------------
// After the iterations: e_ij = 2^(k Z_ij + row_i + column_j), of which
//   sums      sum_j e_ij w_ij v_j, w_ij = 1 or 1/|x_i - y_j| (gradients in the points, P v)
//   entries   scale_i e_ij                                   (plans, gradients in a cost)
struct Rows {
  Job job;
  Term term = Term::cross;
  bool transposed = false;     // rows are y's
  bool at_potentials = false;  // e is the plan at (f, g), else that at the last softmins
  // (count) exponents.
  float *row = nullptr, *column = nullptr;
  double *row_wide = nullptr, *column_wide = nullptr;
  cuda::Numbers upstream;  // (batch), may be absent
};
template <class A>
void make_exponents(const Rows& rows, cuda::Stream& stream);

enum class Values : int32_t { points, given, labels };
struct SumWork {
  Rows rows;
  Values values = Values::points;
  cuda::Numbers given;  // (columns, width)
  int64_t width = 0;    // of the values
  int64_t first = 0;    // values are whether the column's label is first + f
  double factor = 1;
  double* sums = nullptr;  // (count, width) gradients in the points, which are added to
  cuda::NumbersOut out;    // or (count, width): the row's weight times the sum
};
template <class A>
void add_sums(const SumWork& work, int64_t most, cuda::Stream& stream);

struct EntryWork {
  Rows rows;
  cuda::NumbersOut out;  // (pairs of all problems)
  int64_t pairs = 0;     // of each problem
};
template <class A>
void write_entries(const EntryWork& work, cuda::Stream& stream);

// bins (labels, labels) += factor times the masses between a row's label and those of the columns.
struct BinWork {
  Rows rows;
  const double* masses = nullptr;  // (count, width)
  int64_t width = 0, first = 0;
  double factor = 1;
  double* bins = nullptr;
};
void add_bins(const BinWork& work, cuda::Stream& stream);
void write_bins(const double* bins, int64_t count, cuda::NumbersOut out, cuda::Stream& stream);

}  // namespace surprisal::sinkhorn
