// A row of each of two matrices in a CUDA kernel, by the lanes of a warp or the threads of a block:
// maxima and sums of exponentials, then the terms; see op.h and core/divergence_terms.h.
#pragma once
#include <cmath>
#include <limits>

#include "cuda/row_team.h"
#include "cuda/rows.h"
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

template <class T>
struct Rows {
  const T* student;  // (N, V)
  const T* teacher;  // (N, V)
  PairSums* sums;    // (N)
  int64_t rows, classes;
  double inverse, beta;  // 1/T
  Kind kind;
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

template <class C>
struct Softmaxes {
  Online<C> student, teacher;
};
template <class C>
struct Totals {
  C first, second;
};

// --- a row ---------------------------------------------------------------------------------------

// Calls body(slot, teacher's, student's logits) for this thread's slots of columns: what is added
// up goes by these. What is not of the row is -inf.
template <class T, class F>
__device__ void each_of_columns(const Rows<T>& m, const RowPart<T>& part, int64_t row, int rank,
                                int size, F body) {
  using C = accumulator_t<T>;
  constexpr C kNone = -std::numeric_limits<C>::infinity();
  const RowPart<T> columns = part.columns();
  const int64_t all = m.rows * m.classes;
  for (int slot = rank; slot < columns.slots(); slot += size) {
    const auto read = [&](const T* from, C(&to)[kPack<T>]) {
      const int64_t at = row * m.classes + slot * kPack<T>;
      RowPart<T> own = columns;
      own.data = from + row * m.classes;
      widen<T>(columns.whole(slot) ? load_anywhere(from, all, at) : load_elements(own, slot), to);
      mask_slot(columns, slot, kNone, to);
    };
    C t[kPack<T>], s[kPack<T>];
    read(m.teacher, t);
    read(m.student, s);
    body(t, s);
  }
}

// The same of the slots as the teacher's row lies: what is made of each class alone goes by these.
template <class T, class F>
__device__ void each_slot(const Rows<T>& m, const RowPart<T>& part, int64_t row, int rank, int size,
                          F body) {
  using C = accumulator_t<T>;
  constexpr C kNone = -std::numeric_limits<C>::infinity();
  const T* student = m.student + row * m.classes + part.column;
  for (int slot = rank; slot < part.slots(); slot += size) {
    C t[kPack<T>], s[kPack<T>];
    widen<T>(load_slot(part, slot), t);
    mask_slot(part, slot, kNone, t);
    load_beside(student + slot * kPack<T>, part.whole(slot), part.begin, part.end, slot * kPack<T>,
                kNone, s);
    body(slot, t, s);
  }
}

// p, q and d of one class from the row's sums.
template <class C>
struct Ratio {
  C scale, teacher_max, teacher_log, student_max, student_log, shift;

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

template <class T, class SumTeam, class TermTeam>
__device__ void forward_row(const Rows<T>& m, int64_t row, bool exists, SumTeam& sum_team,
                            TermTeam& term_team) {
  using C = accumulator_t<T>;
  const C inverse = static_cast<C>(m.inverse);
  RowPart<T> part;
  if (exists) part = row_part(m.teacher, m.rows, m.classes, row);
  const int rank = sum_team.index(), size = sum_team.size();
  Softmaxes<C> own{Online<C>::none(), Online<C>::none()};
  each_of_columns(m, part, row, rank, size, [&](const C(&t)[kPack<T>], const C(&s)[kPack<T>]) {
    own.teacher.add(t, inverse);
    own.student.add(s, inverse);
  });
  PairSums sums = sum_team.finish(
      own,
      [&](Softmaxes<C>& into, const Softmaxes<C>& from) {
        into.student.merge(from.student, inverse);
        into.teacher.merge(from.teacher, inverse);
      },
      [&](const Softmaxes<C>& all, bool) {
        PairSums out{};
        out.student_max = all.student.max;
        out.student_log = std::log(static_cast<double>(all.student.sum));
        out.teacher_max = all.teacher.max;
        out.teacher_log = std::log(static_cast<double>(all.teacher.sum));
        return out;
      });
  const Ratio<C> ratio(sums, m.inverse);
  Totals<C> total{};
  each_of_columns(m, part, row, rank, size, [&](const C(&t)[kPack<T>], const C(&s)[kPack<T>]) {
#pragma unroll
    for (int j = 0; j < kPack<T>; ++j) {
      C first = 0, second = 0;
      Terms<C, ScalarMath<C>>::value(m.kind, m.beta, ratio.at(t[j], s[j]), first, second);
      total.first += first;
      total.second += second;
    }
  });
  term_team.finish(
      total,
      [](Totals<C>& into, const Totals<C>& from) {
        into.first += from.first;
        into.second += from.second;
      },
      [&](const Totals<C>& all, bool leader) {
        sums.first = all.first;
        sums.second = all.second;
        sums.loss = m.kind == Kind::jensen_shannon
                        ? m.beta * sums.first + (1 - m.beta) * sums.second
                        : sums.first;
        if (leader && exists) store(m.sums + row, sums);
        return sums.loss;
      });
}

}  // namespace surprisal::divergence
