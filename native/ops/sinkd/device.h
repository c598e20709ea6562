// What the CUDA kernels of a call know of its rows.
#pragma once
#include <cmath>

#include "cuda/block_sum.h"
#include "cuda/rows.h"
#include "ops/sinkd/op.h"
#include "ops/sinkd/plan.h"

namespace surprisal::sinkd {

using namespace cuda;

struct Rows {
  const void *student, *teacher;
  const int32_t* kept;   // (problems, B): places of the rows that count, in order
  const int32_t* count;  // (problems): how many
  RowStats* stats;       // (problems, B)
  int64_t rows, classes;
  double inverse;  // 1/T

  // Those from problem `first` on.
  Rows from(int64_t first, int64_t element) const {
    Rows r = *this;
    const int64_t all = first * rows, bytes = all * classes * element;
    r.student = static_cast<const char*>(student) + bytes;
    r.teacher = static_cast<const char*>(teacher) + bytes;
    r.kept += all;
    r.count += first;
    r.stats += all;
    return r;
  }
};

// What the probabilities of a row are made of, always the same bits; without logits they are 0.
template <class Real>
struct alignas(16) RowShare {
  const void* z = nullptr;
  Real top = 0, share = 0;
};

// Of row `i` of those that count, if there is one.
template <class T>
__device__ inline RowShare<accumulator_t<T>> share_of(const Rows& r, int64_t problem, int i,
                                                      bool student) {
  using Real = accumulator_t<T>;
  if (i >= load(r.count + problem)) return {};
  const int64_t row = problem * r.rows + load(r.kept + problem * r.rows + i);
  const RowStats* const s = r.stats + row;
  return {static_cast<const T*>(student ? r.student : r.teacher) + row * r.classes,
          static_cast<Real>(load(student ? &s->student_max : &s->teacher_max)),
          static_cast<Real>(std::exp(-load(student ? &s->student_log : &s->teacher_log)))};
}

template <class T, class Real = accumulator_t<T>>
__device__ inline Real probability(const RowShare<Real>& row, Real inverse, int64_t c,
                                   int64_t end) {
  if (!row.z || c >= end) return 0;
  const Real z = widened(load(static_cast<const T*>(row.z) + c));
  return std::exp((z - row.top) * inverse) * row.share;
}

}  // namespace surprisal::sinkd
