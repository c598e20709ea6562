// Bodies build on each other: their order matters.
#include "cpu/vector_math.h"
#include "cpu/blocks.h"
#include "cpu/row_softmax.h"
#include "cpu/matrix_scaling.h"

namespace sinkd {

using namespace ::surprisal::sinkd;
using Kept = std::vector<int64_t>;

#include "ops/sinkd/distances.h"

template <class C>
void find_stats(const Problem& op, const Kept& rows, RowStats* stats) {
  const int64_t count = static_cast<int64_t>(rows.size());
  const double inverse = 1 / op.temperature;
  parallel_for(count, std::max<int64_t>(1, 16384 / op.classes), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      RowStats& s = stats[rows[k]];
      const int64_t at = rows[k] * op.classes;
      s.student_max = row_max<C>(op.student, at, op.classes);
      s.teacher_max = row_max<C>(op.teacher, at, op.classes);
      s.student_log = row_log<C>(op.student, at, op.classes, s.student_max, inverse);
      s.teacher_log = row_log<C>(op.teacher, at, op.classes, s.teacher_max, inverse);
    }
  });
}

// sum P_ij W_ij, and its gradient by W into slopes (count, count), if asked for.
inline double transport(const Problem& op, const Scratch<double>& w, int64_t count, double* slopes,
                        bool detached) {
  using V = vector_t<double>;
  constexpr int64_t L = kLanes<double>;
  MatrixScaling<double, false> scaling(count, count, op.iterations, false, slopes && !detached);
  const int64_t width = scaling.width(), padded = width * L;
  double least = std::numeric_limits<double>::infinity();
  for (int64_t e = 0; e < count * count; ++e) least = std::min(least, w[e]);
  double* const c = reinterpret_cast<double*>(scaling.c());
  double* const k = reinterpret_cast<double*>(scaling.k());
  std::fill_n(k, count * padded, 0.0);
  for (int64_t j = 0; j < padded; ++j) c[j] = j < count;
  for (int64_t i = 0; i < count; ++i) {
    scaling.r()[i] = splat(1.0);
    for (int64_t j = 0; j < count; ++j)
      k[i * padded + j] = std::exp((least - w[i * count + j]) / op.lambda);
  }
  scaling.iterate();
  double loss = 0;
  Scratch<double> g(count * padded);
  std::fill_n(g.data(), count * padded, 0.0);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t j = 0; j < width; ++j) store(g.data() + i * padded + j * L, scaling.plan(i, j));
    for (int64_t j = 0; j < count; ++j) {
      const double plan = g[i * padded + j];
      loss += plan * w[i * count + j];
      if (slopes) slopes[i * count + j] = plan;
      g[i * padded + j] = w[i * count + j];
    }
  }
  if (!slopes || detached) return loss;
  scaling.differentiate(reinterpret_cast<V*>(g.data()));
  for (int64_t i = 0; i < count; ++i)
    for (int64_t j = 0; j < count; ++j) slopes[i * count + j] -= g[i * padded + j] / op.lambda;
  return loss;
}

// The same where W/lambda ranges too widely for the exponents of float64.
inline double transport_by_logarithms(const Problem& op, const Scratch<double>& w, int64_t count,
                                      double* slopes, bool detached) {
  LogScaling scaling(count, count, op.iterations, false);
  std::vector<double> g(count * count);
  for (int64_t e = 0; e < count * count; ++e) scaling.s[e] = -w[e] / op.lambda, g[e] = w[e];
  std::fill(scaling.r.begin(), scaling.r.end(), 1.0);
  std::fill(scaling.c.begin(), scaling.c.end(), 1.0);
  scaling.iterate();
  double loss = 0;
  if (slopes && !detached) scaling.differentiate(g.data());
  for (int64_t e = 0; e < count * count; ++e) {
    const double plan = scaling.plan(e / count, e % count);
    loss += plan * w[e];
    if (slopes) slopes[e] = plan - (detached ? 0 : g[e] / op.lambda);
  }
  return loss;
}

template <class C>
double forward_as(const Problem& op, const Kept& rows, RowStats* stats, double* slopes,
                  bool detached) {
  const int64_t count = static_cast<int64_t>(rows.size());
  if (count == 0) return 0;
  find_stats<C>(op, rows, stats);
  const Scratch<double> w(count * count);
  Distances<C>(op, rows, stats).measure(w.data());
  // No two distributions are further apart than 2.
  const bool fits = 2 / op.lambda <= kScalingRange<double>;
  return fits ? transport(op, w, count, slopes, detached)
              : transport_by_logarithms(op, w, count, slopes, detached);
}

inline double forward(const Problem& op, const Kept& rows, RowStats* stats, double* slopes,
                      bool detached) {
  return op.student.dtype == DType::f64 ? forward_as<double>(op, rows, stats, slopes, detached)
                                        : forward_as<float>(op, rows, stats, slopes, detached);
}

inline void backward(const Backward& op, const Kept& rows, RowStats* stats, const double* slopes,
                     double scale) {
  if (op.student.dtype == DType::f64) {
    Distances<double>(op, rows, stats).differentiate(slopes, scale, op.grad_student);
  } else {
    Distances<float>(op, rows, stats).differentiate(slopes, scale, op.grad_student);
  }
}

}  // namespace sinkd
