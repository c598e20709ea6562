// A row of logits in a CUDA kernel, for cuda/row_hold.h: sums of powers and of powers times
// cosines, the row's loss, its gradient; see op.h and row.h.
#pragma once
#include <cmath>
#include <limits>

#include "cuda/row_hold.h"
#include "cuda/token_mean.h"
#include "ops/emo/row.h"

namespace surprisal::emo {

using namespace cuda;

// E elements of an array of `size`, from element `at`, wherever they lie; `fill` for those of a
// slot that are not of the row.
template <class U, int E, class Part, class Real>
__device__ inline void load_cosines(const U* array, int64_t size, int64_t at, const Part& part,
                                    int slot, Real (&to)[E]) {
  constexpr int kEach = kPack<U>;
  if constexpr (E >= kEach) {
    if (part.whole(slot)) {
#pragma unroll
      for (int k = 0; k < E; k += kEach) {
        accumulator_t<U> x[kEach];
        widen<U>(load_anywhere(array, size, at + k), x);
#pragma unroll
        for (int j = 0; j < kEach; ++j) to[k + j] = static_cast<Real>(x[j]);
      }
      return;
    }
  } else if (part.whole(slot) && reinterpret_cast<uintptr_t>(array + at) % (sizeof(U) * E) == 0) {
    const auto pack = load(reinterpret_cast<const Pack<U, E>*>(array + at));
#pragma unroll
    for (int j = 0; j < E; ++j) to[j] = static_cast<Real>(widened(pack.at[j]));
    return;
  }
  load_beside(array, size, at, false, part.begin, part.end, slot * E, Real(0), to);
}

// What a thread gathers, over classes other than the label: the largest logit, sums of powers less
// it and of powers times cosines.
template <class Real>
struct Sums {
  static constexpr Real kNone = -std::numeric_limits<Real>::infinity();
  Real max, others, near;

  template <int N>
  __device__ void add(const Real (&z)[N], const Real (&cosine)[N]) {
    Real top = max;
#pragma unroll
    for (int j = 0; j < N; ++j) top = z[j] > top || z[j] != z[j] ? z[j] : top;
    if (top == kNone) return;
    const Real since = std::exp(max - top);
    others *= since;
    near *= since;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const Real e = std::exp(z[j] - top);
      others += e;
      near += e * cosine[j];
    }
    max = top;
  }
  // The same bits for (a, b) as for (b, a): of two the lower is scaled.
  __device__ void merge(const Sums& other) {
    const bool up = other.max > max || (other.max != other.max && max == max);
    const Sums low = up ? *this : other;
    if (up) *this = other;
    if (low.max == kNone) return;
    const Real since = std::exp(low.max - max);
    others += low.others * since;
    near += low.near * since;
  }
  // With the label's logit.
  __device__ RowTotals totals(Real target, Real own_cosine) const {
    const Real top = max > target || max != max ? max : target;
    const double since = max == kNone ? 0 : row_math::exp(double(max) - double(top));
    RowTotals t;
    t.max = top;
    t.others = max == kNone ? 0 : others * since;
    t.near = max == kNone ? 0 : near * since;
    t.target = double(target) - double(top);
    t.own_cosine = own_cosine;
    return t;
  }
};

// What rows weigh, and what becomes of them.
struct RowContext {
  const int32_t* label;  // (N), -1 for none
  TokenRows weights;
  const TokenTotals* totals;  // of the weights; null: they are not needed
  Numbers upstream;           // absent: 1
  RowRules rules;
  double* row_loss;  // (N), may be absent

  __device__ double scale(int64_t n, bool gradient) const {
    return weights.scale(n, totals, upstream, gradient);
  }
};

// T of logits and gradient, U of cosines: of the labels' rows of a table (V, V), or of rows that
// were made for these ones.
template <class T, class U>
struct LogitRows {
  using Element = T;
  using Real = accumulator_t<T>;
  static constexpr int kInputs = 1, kPhases = 1, kLaneBlocks = sizeof(T) == 8 ? 1 : 3;
  using State = Sums<Real>;
  struct Row {
    double scale;     // of the gradient; 0: the row does not count
    int64_t cosines;  // where they begin
    int32_t label;
    Real max, p, q;  // before the sums are known: z of the label, its cosine
    Real own;
  };
  const T* input[1];
  T* output;
  int64_t rows, columns;
  int64_t first;  // number of the first row
  const U* cosines;
  int64_t size;   // of all cosines
  bool by_label;  // a table
  RowContext about;

  SP_HOST_DEVICE bool wants(int) const { return true; }
  __device__ Row begin(int64_t r) const {
    Row row{};
    row.label = load(about.label + first + r);
    row.scale = row.label < 0 ? 0 : about.scale(first + r, output);
    if (row.scale == 0) return row;
    row.cosines = (by_label ? row.label : r) * columns;
    row.max = widened(load(input[0] + r * columns + row.label));
    row.p = static_cast<Real>(widened(load(cosines + row.cosines + row.label)));
    return row;
  }
  __device__ State start() const { return {State::kNone, 0, 0}; }
  template <int Phase, class Part>
  __device__ void add(State& state, const Row& row, const Part& part, int slot,
                      Real (&x)[1][kPack<T>]) const {
    if (row.scale == 0) return;
    mask_slot(part, slot, State::kNone, x[0]);
    const int64_t column = part.column + slot * kPack<T>;
    Real cosine[kPack<T>];
    load_cosines(cosines, size, row.cosines + column, part, slot, cosine);
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e)
      if (column + e == row.label) x[0][e] = State::kNone;
    state.add(x[0], cosine);
  }
  __device__ void merge(State& into, const State& from) const { into.merge(from); }
  template <int Phase>
  __device__ Row finish(int64_t r, const Row& before, const State& state, bool leader) const {
    Row row = before;
    double loss = 0;
    if (row.scale != 0) {
      const RowTotals totals = state.totals(row.max, row.p);
      const RowValue value = row_value(about.rules, totals);
      loss = value.loss;
      row.max = static_cast<Real>(totals.max);
      row.p = static_cast<Real>(value.p * row.scale);
      row.q = static_cast<Real>(value.q * row.scale);
      row.own = static_cast<Real>(value.own * row.scale);
    }
    if (leader && about.row_loss) store(about.row_loss + first + r, loss);
    return row;
  }
  template <class Part>
  __device__ void emit(const Row& row, const Part& part, int slot, const Real (&x)[1][kPack<T>],
                       Real (&y)[kPack<T>]) const {
    const int64_t column = part.column + slot * kPack<T>;
    Real cosine[kPack<T>] = {};
    if (row.scale != 0) load_cosines(cosines, size, row.cosines + column, part, slot, cosine);
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e) {
      const Real dz = std::exp(x[0][e] - row.max) * (row.p + row.q * cosine[e]);
      y[e] = row.scale == 0 ? Real(0) : column + e == row.label ? row.own : dz;
    }
  }
};

}  // namespace surprisal::emo
