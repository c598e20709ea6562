// A row of each of two matrices in a CUDA kernel, for cuda/row_hold.h: maxima and sums of
// exponentials, then the terms, then the student's gradient; see op.h and core/divergence_terms.h.
#pragma once
#include <cmath>
#include <limits>

#include "cuda/row_hold.h"
#include "cuda/token_mean.h"
#include "ops/divergence/op.h"

namespace surprisal::divergence {

using namespace cuda;

#include "core/divergence_terms.h"

template <class C>
struct ScalarMath {
  static constexpr int kSeries = sizeof(C) == 8 ? 15 : 8;
  static __device__ C constant(double x) { return static_cast<C>(x); }
  static __device__ C select(bool mask, C a, C b) { return mask ? a : b; }
  static __device__ C exp(C x) { return std::exp(x); }
  static __device__ C log1p(C x) {
    if constexpr (sizeof(C) == 4) {
      return std::log1p(x);
    } else {
      // CUDA's own is a call that spills. What 1 + x rounded away is put back.
      const double u = 1 + x;
      return std::log(u) + (x - (u - 1)) * static_cast<double>(1 / static_cast<float>(u));
    }
  }
  static __device__ bool near(C x) { return std::fabs(x) < C(0.5); }
  static __device__ bool is_zero(C x) { return x == 0; }
  static __device__ bool not_less(C a, C b) { return a >= b; }
};

// --- what a thread gathers -----------------------------------------------------------------------

// Largest logit and sum of e^((z - max)/T), of one matrix.
template <class C>
struct Online {
  C max, sum;

  static __device__ Online none() { return {-std::numeric_limits<C>::infinity(), 0}; }
  template <int N>
  __device__ void add(const C (&z)[N], C inverse) {
    C top = max;
#pragma unroll
    for (int j = 0; j < N; ++j) top = z[j] > top || z[j] != z[j] ? z[j] : top;
    if (top == -std::numeric_limits<C>::infinity()) return;
    sum *= std::exp((max - top) * inverse);
#pragma unroll
    for (int j = 0; j < N; ++j) sum += std::exp((z[j] - top) * inverse);
    max = top;
  }
  // The same bits for (a, b) as for (b, a): both sums are scaled before they are added.
  __device__ void merge(const Online& other, C inverse) {
    const C top = other.max > max || other.max != other.max ? other.max : max;
    if (top == -std::numeric_limits<C>::infinity()) return;
    const C own = sum == 0 ? C(0) : times(sum, std::exp((max - top) * inverse));
    const C its = other.sum == 0 ? C(0) : times(other.sum, std::exp((other.max - top) * inverse));
    sum = own + its;
    max = top;
  }

 private:
  static __device__ C times(C a, C b) {
    if constexpr (sizeof(C) == 4) {
      return mul_exact(a, b);
    } else {
      return a * b;  // nothing is added in the same expression
    }
  }
};

// p, q and d of one class from the row's sums.
template <class C>
struct Ratio {
  C scale, teacher_max, teacher_log, student_max, student_log, shift;

  Ratio() = default;
  __device__ Ratio(const PairSums& row, double inverse)
      : scale(static_cast<C>(inverse)),
        teacher_max(static_cast<C>(row.teacher_max)),
        teacher_log(static_cast<C>(row.teacher_log)),
        student_max(static_cast<C>(row.student_max)),
        student_log(static_cast<C>(row.student_log)),
        shift(static_cast<C>((row.teacher_max - row.student_max) * inverse +
                             (row.teacher_log - row.student_log))) {}
  __device__ Pair<C> at(C t, C s) const {
    return {std::exp((t - teacher_max) * scale - teacher_log),
            std::exp((s - student_max) * scale - student_log), (t - s) * scale - shift};
  }
};

// --- rows ----------------------------------------------------------------------------------------

// Both rows held in registers. Their losses, and with an output the student's gradient for an
// upstream gradient of 1.
template <class T>
struct PairRows {
  using Element = T;
  using Real = accumulator_t<T>;
  static constexpr int kInputs = 2, kPhases = 2, kLaneBlocks = sizeof(T) == 8 ? 1 : 2;
  static constexpr Real kNone = -std::numeric_limits<Real>::infinity();
  struct State {
    Online<Real> student, teacher;  // phase 0
    Real first, second;             // phase 1: sums of terms
  };
  struct Row {
    Ratio<Real> ratio;
    Real first, second, loss;
    Real by;  // what the slopes of the row are multiplied with
    bool weighs;
  };
  const T* input[2];  // student, teacher
  T* output;
  int64_t rows, columns;
  PairSums* sums;
  TokenRows weights;
  const TokenTotals* totals;  // of the weights; null: they are not needed
  double inverse, beta;       // 1/T
  Kind kind;

  SP_HOST_DEVICE bool wants(int) const { return true; }
  __device__ Row begin(int64_t number) const {
    Row row{};
    if (!output) return row;
    const double scale = weights.weight(number) * weights.share(totals);
    row.by = static_cast<Real>(scale * inverse);
    row.weighs = scale != 0;
    return row;
  }
  __device__ State start() const { return {Online<Real>::none(), Online<Real>::none(), 0, 0}; }
  template <int Phase, class Part>
  __device__ void add(State& state, const Row& row, const Part& part, int slot,
                      Real (&x)[2][kPack<T>]) const {
    mask_slot(part, slot, kNone, x[0]);
    mask_slot(part, slot, kNone, x[1]);
    if (Phase == 0) {
      state.student.add(x[0], static_cast<Real>(inverse));
      state.teacher.add(x[1], static_cast<Real>(inverse));
      return;
    }
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e) {
      Real first = 0, second = 0;
      Terms<Real, ScalarMath<Real>>::value(kind, beta, row.ratio.at(x[1][e], x[0][e]), first,
                                           second);
      state.first += first;
      state.second += second;
    }
  }
  __device__ void merge(State& into, const State& from) const {
    into.student.merge(from.student, static_cast<Real>(inverse));
    into.teacher.merge(from.teacher, static_cast<Real>(inverse));
    into.first += from.first;
    into.second += from.second;
  }
  template <int Phase>
  __device__ Row finish(int64_t number, const Row& before, const State& state, bool leader) const {
    Row row = before;
    PairSums* const out = sums + number;
    if (Phase == 0) {
      PairSums sums{};
      sums.student_max = state.student.max;
      sums.student_log = std::log(static_cast<double>(state.student.sum));
      sums.teacher_max = state.teacher.max;
      sums.teacher_log = std::log(static_cast<double>(state.teacher.sum));
      row.ratio = Ratio<Real>(sums, inverse);
      if (leader) store(out, sums);
    } else {
      const double first = state.first, second = state.second;
      const double loss = kind == Kind::jensen_shannon ? beta * first + (1 - beta) * second : first;
      row.first = state.first;
      row.second = state.second;
      row.loss = static_cast<Real>(loss);
      if (leader) {
        store(&out->loss, loss);
        store(&out->first, first);
        store(&out->second, second);
      }
    }
    return row;
  }
  template <class Part>
  __device__ void emit(const Row& row, const Part&, int, const Real (&x)[2][kPack<T>],
                       Real (&y)[kPack<T>]) const {
    PairSums sums{};
    sums.loss = row.loss;
    sums.first = row.first;
    sums.second = row.second;
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e) {
      Real student, teacher;
      Terms<Real, ScalarMath<Real>>::slope(kind, beta, sums, row.ratio.at(x[1][e], x[0][e]),
                                           student, teacher);
      // A row of weight 0 gets zeros, whatever it holds.
      y[e] = row.weighs ? student * row.by : Real(0);
    }
  }
};

}  // namespace surprisal::divergence
