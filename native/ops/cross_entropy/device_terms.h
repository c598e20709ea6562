// What crossEntropy makes of the slots of a row, for the passes of cuda/row_pass.h: PlainRows where
// z is x (or x over a temperature) and targets are classes, what training runs most; GeneralRows
// with a softcap, smoothing or probabilities. Both keep sums relative to the largest logit so far.
#pragma once
#include "cuda/row_pass.h"
#include "ops/cross_entropy/device_rows.h"

namespace surprisal::cross_entropy {

// e^(d k), d <= 0. 16-bit logits: exp2 with log2 e folded into the factor, off by |d k| 1e-7 + 2
// ulp of float32, nothing beside what the logits were rounded by. float32 logits: libm's, 2 ulp, at
// 8 instructions instead of 2, for which they leave twice the time.
template <class T>
struct Exponential {
  using Real = accumulator_t<T>;
  Real factor;

  __device__ explicit Exponential(double k)
      : factor(static_cast<Real>(sizeof(T) == 2 ? k * 1.4426950408889634 : k)) {}
  __device__ Real operator()(Real d) const {
    if constexpr (sizeof(T) == 2) {
      return cuda::exp2_fast(d * factor);
    } else {
      return std::exp(d * factor);
    }
  }
};

template <class Real>
inline __device__ Real larger(Real a, Real b) {  // a NaN in a is passed over
  return a > b ? a : b;
}

template <int E, class Real>
inline __device__ Real tree_sum(const Real (&x)[E]) {
  Real sum[E];
#pragma unroll
  for (int j = 0; j < E; ++j) sum[j] = x[j];
#pragma unroll
  for (int n = E / 2; n > 0; n /= 2) {
#pragma unroll
    for (int j = 0; j < n; ++j) sum[j] += sum[j + n];
  }
  return sum[0];
}

template <class T>
struct RowsBase {
  using Element = T;
  using Real = accumulator_t<T>;
  using Row = DeviceSlope<Real>;
  static constexpr int E = cuda::kPack<T>;
  static constexpr Real kNone = -std::numeric_limits<Real>::infinity();
  static constexpr Real kLowest = std::numeric_limits<Real>::lowest();

  const T* input = nullptr;
  T* output = nullptr;
  int64_t rows = 0, columns = 0;
  RowContext about;
  bool saved = false;       // about.stats hold the sums already
  bool unless_one = false;  // and `output` the gradient where the upstream gradient is 1

  __device__ bool known() const { return saved; }

  struct Context {
    int64_t row, y;
    int at;  // place of the target in the part's columns, or none
  };
  __device__ Context begin(int64_t row, const cuda::RowPart<T>& part) const {
    const int64_t y = about.targets[row];
    return {row, y, about.targets.soft() ? -E : part.position(y)};
  }
  __device__ bool reads(const Context& c) const { return !about.targets.ignored(c.y); }

  __device__ Real target_logit(const Context& c) const {
    return cuda::widened(load(input + c.row * columns + (about.targets.soft() ? 0 : c.y)));
  }
  // What the leader writes of a row, and the slope of its gradient.
  __device__ Row finish_row(const Context& c, bool leader, Real max, Real sum, Real largest,
                            Real below, Real weight) const {
    const bool ignored = about.targets.ignored(c.y);
    const Real x = ignored ? Real(0) : target_logit(c);
    DeviceStats stats{};
    if (saved) {
      stats = load(about.stats + c.row);
      return row_gradient(about, c.row, c.y, x, stats);
    }
    if (!ignored) {
      stats = row_stats(about, c.y, map_element(about.map, x), double(max), sum, largest, below,
                        weight);
    }
    if (leader) {
      about.targets.check(c.row, c.y);
      if (about.stats) store(about.stats + c.row, stats);
      if (about.loss.data)
        about.loss.set(c.row, ignored ? 0 : about.token_weight.weight(c.row) * stats.loss);
    }
    if (!output) return {};
    return row_gradient(about, c.row, c.y, x, stats);
  }
};

// A block that has a part of a row, and knows nothing of the others, keeps its state.
template <class State>
struct Parts {
  State* states = nullptr;  // (N, count)
  int count = 1;
};
// What `rows` knows of a row once this block has seen its part: the row if that was all of it.
template <class Rows>
inline __device__ typename Rows::Row finish_part(const Rows& rows, int part,
                                                 const typename Rows::Context& c,
                                                 const typename Rows::State& s, bool leader) {
  if (!rows.parts.states || rows.saved) return rows.finish_sums(c, s, leader);
  if (leader) store(rows.parts.states + c.row * rows.parts.count + part, s);
  return {};
}

template <class T>  // not double, which is GeneralRows
struct PlainRows : RowsBase<T> {
  using Base = RowsBase<T>;
  using Base::E;
  using typename Base::Context;
  using typename Base::Real;
  using typename Base::Row;
  static constexpr bool kPlain = true;
  static constexpr int kUnroll = 2;

  struct State {
    Real max, sum;  // sum of e^((x - max) k), the target left out
  };
  Parts<State> parts;
  __device__ State start() const { return {Base::kLowest, 0}; }

  template <bool Edge>
  __device__ void add(State& state, const Context& c, const cuda::RowPart<T>& part, int slot,
                      Real (&x)[E]) const {
    const Exponential<T> e(this->about.k);
    if (Edge) cuda::mask_slot(part, slot, Base::kNone, x);
    Real max = state.max;
    if (static_cast<unsigned>(c.at - slot * E) < static_cast<unsigned>(E)) {
      // The target counts for the maximum alone.
#pragma unroll
      for (int j = 0; j < E; ++j) {
        if (slot * E + j != c.at) continue;
        max = larger(x[j], max);
        x[j] = Base::kNone;
      }
    }
#pragma unroll
    for (int j = 0; j < E; ++j) max = larger(x[j], max);
      // Differences come before the factor, so that logits may be 2^24.
#pragma unroll
    for (int j = 0; j < E; ++j) x[j] = e(x[j] - max);
    state.sum = state.sum * e(state.max - max) + tree_sum(x);
    state.max = max;
  }
  __device__ void merge(State& into, const State& from) const {
    const bool up = from.max > into.max;
    const State high = up ? from : into, low = up ? into : from;
    const Exponential<T> e(this->about.k);
    const Real share = low.max == high.max ? Real(1) : e(low.max - high.max);
    into = {high.max, low.sum * share + high.sum};
  }
  __device__ Row finish(int64_t, int part, const Context& c, const State& s, bool leader) const {
    return finish_part(*this, part, c, s, leader);
  }
  __device__ Row finish_sums(const Context& c, const State& s, bool leader) const {
    Row row = this->finish_row(c, leader, s.max, s.sum, 0, 0, 0);
    row.p *= static_cast<Real>(this->about.map.in);  // dz/dx is the same for all elements
    return row;
  }
  template <bool Edge>
  __device__ void emit(const Row& row, const Context& c, const cuda::RowPart<T>& part, int slot,
                       Real (&x)[E]) const {
    if (row.zero) {
#pragma unroll
      for (int j = 0; j < E; ++j) x[j] = 0;
      return;
    }
    const Exponential<T> e(this->about.k);
#pragma unroll
    for (int j = 0; j < E; ++j) x[j] = e(x[j] - row.max) * row.p;
    const int target = c.at + part.begin - slot * E;
    if (static_cast<unsigned>(target) < static_cast<unsigned>(E)) {
#pragma unroll
      for (int j = 0; j < E; ++j)
        if (j == target) x[j] = row.target;
    }
  }
};

template <class T>
struct GeneralRows : RowsBase<T> {
  using Base = RowsBase<T>;
  using Base::E;
  using typename Base::Context;
  using typename Base::Real;
  using typename Base::Row;
  static constexpr bool kPlain = false;
  static constexpr int kUnroll = 1;

  Real share = 1, even = 0;  // 1-s and s/V
  bool weighted = false;     // smoothing or probabilities: sums of q and of q (max - v) k too
  const Real* class_weight = nullptr;  // part of q, widened; may be absent

  struct State {
    Real max, sum;
    Real below, weight;  // sum of q (max - v) k, of q
    Real largest;        // probabilities: how many v equal max; they are not in `sum`
  };
  Parts<State> parts;
  __device__ State start() const { return {Base::kLowest, 0, 0, 0, 0}; }

  template <bool Edge>
  __device__ void class_weights(const cuda::RowPart<T>& part, int slot, Real (&w)[E]) const {
    if (class_weight) return beside<Edge>(class_weight, this->columns, 0, part, slot, w);
#pragma unroll
    for (int j = 0; j < E; ++j) w[j] = 1;
    if (Edge) cuda::mask_slot(part, slot, Real(0), w);
  }
  // Weights q of the classes of a slot; 0 outside of the row.
  template <bool Edge>
  __device__ void weights(const Context& c, const cuda::RowPart<T>& part, int slot,
                          Real (&q)[E]) const {
    const RowContext& about = this->about;
    class_weights<Edge>(part, slot, q);
    if (!about.targets.soft()) return;
    Real t[E];
    const int64_t row = c.row * about.classes, all = about.rows * about.classes;
    const int64_t at = row + part.column + int64_t(slot) * E;
    const auto* const own = static_cast<const T*>(about.targets.data);
    if (about.targets.dtype == DTypeOf<T>::value && !Edge) {
      cuda::widen<T>(cuda::load_anywhere(own, all, at), t);
    } else if (about.targets.dtype == DTypeOf<T>::value) {
      beside<Edge>(own, all, row, part, slot, t);
    } else if (std::is_same_v<Real, float> && about.targets.dtype == DType::f32) {
      beside<Edge>(static_cast<const float*>(about.targets.data), all, row, part, slot, t);
    } else {
#pragma unroll
      for (int j = 0; j < E; ++j) {
        const bool inside = !Edge || (slot * E + j >= part.begin && slot * E + j < part.end);
        t[j] = inside ? static_cast<Real>(
                            cuda::number_at(about.targets.data, about.targets.dtype, at + j))
                      : Real(0);
      }
    }
#pragma unroll
    for (int j = 0; j < E; ++j) q[j] *= t[j] * share + even;
  }
  // Elements at the columns of a slot, of an array of `size` where a row's begin at `row`; 0
  // outside of the row.
  template <bool Edge, class U>
  __device__ static void beside(const U* array, int64_t size, int64_t row,
                                const cuda::RowPart<T>& part, int slot, Real (&to)[E]) {
    cuda::load_beside(array, size, row + part.column + int64_t(slot) * E, !Edge,
                      Edge ? part.begin : 0, Edge ? part.end : (slot + 1) * E, slot * E, Real(0),
                      to);
  }

  template <bool Edge>
  __device__ void add(State& state, const Context& c, const cuda::RowPart<T>& part, int slot,
                      Real (&x)[E]) const {
    const RowContext& about = this->about;
    const Exponential<T> e(about.k);
    const Real k = static_cast<Real>(about.k);
    const bool soft = about.targets.soft();
    Real max = Base::kLowest;
#pragma unroll
    for (int j = 0; j < E; ++j) x[j] = map_element(about.map, x[j]);
    if (Edge) cuda::mask_slot(part, slot, Base::kNone, x);
#pragma unroll
    for (int j = 0; j < E; ++j) max = larger(x[j], max);
    State here{larger(max, state.max), 0, 0, 0, 0};
    if (weighted) {
      Real q[E], below[E];
      this->template weights<Edge>(c, part, slot, q);
      // A class without weight adds nothing, also where its logit is -inf.
#pragma unroll
      for (int j = 0; j < E; ++j) below[j] = q[j] == 0 ? Real(0) : (here.max - x[j]) * k * q[j];
      here.below = tree_sum(below);
      here.weight = tree_sum(q);
    }
    Real many[E];
#pragma unroll
    for (int j = 0; j < E; ++j) {
      const bool top = soft && x[j] == here.max;
      many[j] = top ? Real(1) : Real(0);
      const bool left_out = top || slot * E + j == c.at;
      x[j] = left_out ? Real(0) : e(x[j] - here.max);
    }
    here.sum = tree_sum(x);
    here.largest = tree_sum(many);
    merge(state, here);
  }
  __device__ void merge(State& into, const State& from) const {
    const bool up = from.max > into.max;
    const State high = up ? from : into, low = up ? into : from;
    State out{high.max, 0, high.below + low.below, high.weight + low.weight, high.largest};
    if (low.max == high.max) {
      out.sum = high.sum + low.sum;
      out.largest += low.largest;
    } else {
      const Real d = low.max - high.max;
      const Exponential<T> e(this->about.k);
      out.sum = (low.sum + low.largest) * e(d) + high.sum;
      if (low.weight != 0) out.below -= low.weight * (d * static_cast<Real>(this->about.k));
    }
    into = out;
  }
  __device__ Row finish(int64_t, int part, const Context& c, const State& s, bool leader) const {
    return finish_part(*this, part, c, s, leader);
  }
  __device__ Row finish_sums(const Context& c, const State& s, bool leader) const {
    return this->finish_row(c, leader, s.max, s.sum, s.largest, s.below, s.weight);
  }
  template <bool Edge>
  __device__ void emit(const Row& row, const Context& c, const cuda::RowPart<T>& part, int slot,
                       Real (&x)[E]) const {
    if (row.zero) {
#pragma unroll
      for (int j = 0; j < E; ++j) x[j] = 0;
      return;
    }
    const Exponential<T> e(this->about.k);
    Real q[E] = {};
    if (weighted) this->template weights<Edge>(c, part, slot, q);
#pragma unroll
    for (int j = 0; j < E; ++j) {
      Real slope;
      const Real v = map_element(this->about.map, x[j], &slope);
      const Real share = e(v - row.max) * row.p;
      Real g = share - row.w * q[j];
      if (row.sure && v == row.max) g = row.w * (row.q_sum - q[j]) + row.largest;
      // A logit of -inf moves nothing; in a row of NaN `share` is NaN.
      if (v == Base::kNone) g = share;
      x[j] = slot * E + j == c.at + part.begin ? row.target : g * slope;
    }
  }
};

}  // namespace surprisal::cross_entropy
