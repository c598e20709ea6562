// Rows of two matrices side by side, in blocks of the compute type: maxima, sums of exponentials,
// then the terms. Included once per target.
#include "cpu/vector_math.h"
#include "cpu/blocks.h"
#include "cpu/row_softmax.h"

namespace divergence {

using namespace ::surprisal::divergence;

#include "core/divergence_terms.h"

template <class C>
struct VectorMath {
  using V = vector_t<C>;
  static constexpr int kSeries = std::is_same_v<C, double> ? 15 : 8;
  static V constant(double x) { return splat(static_cast<C>(x)); }
  template <class Mask>
  static V select(Mask mask, V a, V b) {
    return SURPRISAL_TARGET::select(mask, a, b);
  }
  static V exp(V x) { return SURPRISAL_TARGET::exp(x); }
  static V log1p(V x) { return SURPRISAL_TARGET::log1p(x); }
  static auto near(V x) { return abs(x) < C(0.5); }
  static auto is_zero(V x) { return x == V{}; }
  static auto not_less(V a, V b) { return a >= b; }
};

constexpr int64_t kGrain = 16384;  // elements worth waking a thread for

// Calls body(first class, lanes in use, {p, q, d}) for every vector of the row.
template <class C, class F>
void each_class(const Problem& op, int64_t begin, const PairSums& row, F body) {
  using V = vector_t<C>;
  const double inverse = 1 / op.temperature;
  const C scale = static_cast<C>(inverse);
  const C teacher_max = static_cast<C>(row.teacher_max),
          student_max = static_cast<C>(row.student_max);
  const C teacher_log = static_cast<C>(row.teacher_log),
          student_log = static_cast<C>(row.student_log);
  const C shift = static_cast<C>((row.teacher_max - row.student_max) * inverse +
                                 (row.teacher_log - row.student_log));
  C teacher[kBlock], student[kBlock];
  constexpr C kNone = -std::numeric_limits<C>::infinity();
  for (int64_t at = 0; at < op.classes; at += kBlock) {
    const int64_t count = std::min(kBlock, op.classes - at);
    const C* t = block_of(op.teacher, begin + at, count, teacher);
    const C* s = block_of(op.student, begin + at, count, student);
    for (int64_t i = 0; i < count; i += kLanes<C>) {
      const V x = part(t, i, count, kNone), y = part(s, i, count, kNone);
      Pair<V> c;
      c.p = exp((x - teacher_max) * scale - teacher_log);
      c.q = exp((y - student_max) * scale - student_log);
      c.d = (x - y) * scale - shift;
      body(at + i, std::min<int64_t>(kLanes<C>, count - i), c);
    }
  }
}

template <class C>
void forward_row(const Problem& op, int64_t n, PairSums& row) {
  using V = vector_t<C>;
  const int64_t begin = n * op.classes;
  const double inverse = 1 / op.temperature;
  row = {};
  row.student_max = row_max<C>(op.student, begin, op.classes);
  row.teacher_max = row_max<C>(op.teacher, begin, op.classes);
  row.student_log = row_log<C>(op.student, begin, op.classes, row.student_max, inverse);
  row.teacher_log = row_log<C>(op.teacher, begin, op.classes, row.teacher_max, inverse);
  const Kind kind = static_cast<Kind>(op.kind);
  const bool mixed = kind == Kind::jensen_shannon;
  V first{}, second{};
  each_class<C>(op, begin, row, [&](int64_t at, int64_t, const Pair<V>& c) {
    V a{}, b{};
    Terms<V, VectorMath<C>>::value(kind, op.beta, c, a, b);
    first += a;
    second += b;
    if ((at + kLanes<C>) % kBlock < kLanes<C>) {
      row.first += reduce_add(first);
      row.second += reduce_add(second);
      first = second = V{};
    }
  });
  row.first += reduce_add(first);
  row.second += reduce_add(second);
  row.loss = mixed ? op.beta * row.first + (1 - op.beta) * row.second : row.first;
}

template <class C>
void backward_row(const Backward& op, int64_t n, const PairSums& row, double scale) {
  using V = vector_t<C>;
  const int64_t begin = n * op.classes;
  const Kind kind = static_cast<Kind>(op.kind);
  const C by = static_cast<C>(scale / op.temperature);
  const auto put = [&](const View& to, int64_t at, int64_t lanes, V x) {
    if (!to) return;
    C lane[kLanes<C>];
    store(lane, x * by);
    store_block(to.dtype, lane, lanes, to.data, begin + at);
  };
  each_class<C>(op, begin, row, [&](int64_t at, int64_t lanes, const Pair<V>& c) {
    V student{}, teacher{};
    Terms<V, VectorMath<C>>::slope(kind, op.beta, row, c, student, teacher);
    put(op.grad_student, at, lanes, student);
    put(op.grad_teacher, at, lanes, teacher);
  });
}

inline void forward(const Problem& op, PairSums* rows) {
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, op.classes));
  parallel_for(op.rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      op.student.dtype == DType::f64 ? forward_row<double>(op, n, rows[n])
                                     : forward_row<float>(op, n, rows[n]);
  });
}

inline void zero_row(const View& to, int64_t begin, int64_t count) {
  if (!to) return;
  const int64_t width = size_of(to.dtype);
  std::memset(static_cast<char*>(to.data) + begin * width, 0, count * width);
}

// scale: upstream x token weight / denominator, a row each. A row of weight 0 gets zeros whatever
// it holds.
inline void backward(const Backward& op, const PairSums* rows, const double* scale) {
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, op.classes));
  parallel_for(op.rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      if (scale[n] == 0) {
        zero_row(op.grad_student, n * op.classes, op.classes);
        zero_row(op.grad_teacher, n * op.classes, op.classes);
      } else if (op.student.dtype == DType::f64) {
        backward_row<double>(op, n, rows[n], scale[n]);
      } else {
        backward_row<float>(op, n, rows[n], scale[n]);
      }
    }
  });
}

}  // namespace divergence
