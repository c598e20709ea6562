// Weighted points of a batch of problems, as optimal transport takes them: problem p has the points
// from start[p] to start[p + 1]. What only values show is refused here, in the operation's name.
#pragma once
#include <string>

#include "core/scratch.h"
#include "core/view.h"

namespace surprisal {

// A number as messages show it.
std::string text_of(double x);

[[noreturn]] void refuse(const char* op, const std::string& message);

// What is said of values wherever they were found; `problem` is negative in a batch of one.
[[noreturn]] void refuse_point(const char* op, const char* name, double x, int64_t point);
[[noreturn]] void refuse_weight(const char* op, const char* name, double w, int64_t i);
[[noreturn]] void refuse_no_mass(const char* op, const char* name, int64_t problem);
[[noreturn]] void refuse_masses(const char* op, double a, double b, const char* relief,
                                int64_t problem);
// By how much masses may differ, relative to the larger.
double allowed_difference(const View& a, const View& b);

// Points of `width` numbers each.
void expect_finite(const char* op, const char* name, const View& points, int64_t width);

// Calls f(i, value) in order.
template <class F>
void each_value(const View& view, F&& f) {
  visit_float(view.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* p = view.as<T>();
    for (int64_t i = 0; i < view.size; ++i) {
      if constexpr (std::is_same_v<T, double>) {
        f(i, p[i]);
      } else {
        f(i, to_float(p[i]));
      }
    }
  });
}

// One side's weights, as doubles; uniform of mass 1 where there are none.
struct Weights {
  const char* name;
  View given;
  const int64_t* start;  // (B + 1)
  double* to;
};

// Each at least 0, their sum positive.
void read_weights(const char* op, const Weights& side, int64_t batch);

// Marginals that must hold can only if the masses are equal: small differences are rounding, which
// is spread over the points; unit masses stay so. `relief` names what allows others, or is null.
void match_masses(const char* op, const Weights& a, const Weights& b, int64_t batch,
                  const char* relief);

// Weights of B problems of N and M points, of equal mass. Uniform ones are whole numbers, M and N
// by their common divisor, so that their sums meet exactly: `scale` times them they have mass 1.
class BalancedWeights {
 public:
  BalancedWeights(const char* op, const View& a, const View& b, int64_t batch, int64_t n,
                  int64_t m);
  const double* a(int64_t p) const { return a_.data() + p * n_; }
  const double* b(int64_t p) const { return b_.data() + p * m_; }
  double scale() const { return scale_; }

 private:
  const int64_t n_, m_;
  Scratch<double> a_, b_;
  double scale_ = 1;
};

}  // namespace surprisal
