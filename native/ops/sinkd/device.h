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
};

// The probabilities of a row, always the same bits.
template <class T>
struct Probabilities {
  using Real = accumulator_t<T>;
  const T* z = nullptr;
  Real top = 0, by = 0, share = 0;

  // Of row `i` of those that count, if there is one.
  __device__ Probabilities(const Rows& r, int64_t problem, int i, bool student) {
    if (i >= load(r.count + problem)) return;
    const int64_t row = problem * r.rows + load(r.kept + problem * r.rows + i);
    const RowStats* const s = r.stats + row;
    z = static_cast<const T*>(student ? r.student : r.teacher) + row * r.classes;
    top = static_cast<Real>(load(student ? &s->student_max : &s->teacher_max));
    by = static_cast<Real>(r.inverse);
    share = static_cast<Real>(std::exp(-load(student ? &s->student_log : &s->teacher_log)));
  }
  __device__ Real at(int64_t c, int64_t end) const {
    return z && c < end ? std::exp((widened(load(z + c)) - top) * by) * share : Real(0);
  }
};

}  // namespace surprisal::sinkd
