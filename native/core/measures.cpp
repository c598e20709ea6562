#include "core/measures.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <vector>

#include "core/values.h"

namespace surprisal {
namespace {

double mass_of(const Weights& side, int64_t p) {
  double mass = 0;
  for (int64_t i = side.start[p]; i < side.start[p + 1]; ++i) mass += side.to[i];
  return mass;
}

void rescale(const Weights& side, int64_t p, double factor) {
  for (int64_t i = side.start[p]; i < side.start[p + 1]; ++i) side.to[i] *= factor;
}

std::string in_problem(int64_t problem) {
  return problem < 0 ? "" : " in problem " + std::to_string(problem);
}

}  // namespace

std::string text_of(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", x);
  return std::isnan(x) ? "NaN" : std::isinf(x) ? (x > 0 ? "Infinity" : "-Infinity") : text;
}

void refuse(const char* op, const std::string& message) {
  throw Error(Code::invalid_value, std::string(op) + ": " + message);
}

void refuse_point(const char* op, const char* name, double x, int64_t point) {
  refuse(op, std::string("expected ") + name + " to hold finite numbers, got " + text_of(x) +
                 " at point " + std::to_string(point));
}
void refuse_weight(const char* op, const char* name, double w, int64_t i) {
  refuse(op, std::string("expected ") + name + " to hold finite numbers of at least 0, got " +
                 text_of(w) + " at " + std::to_string(i));
}
void refuse_no_mass(const char* op, const char* name, int64_t problem) {
  refuse(op,
         std::string("expected ") + name + " to have a positive sum, got 0" + in_problem(problem));
}
void refuse_masses(const char* op, double a, double b, const char* relief, int64_t problem) {
  const std::string more = relief ? std::string("; ") + relief + " relaxes it" : "";
  refuse(op, "expected a and b to have the same mass (balanced transport" + more + "), got " +
                 text_of(a) + " and " + text_of(b) + in_problem(problem));
}
double allowed_difference(const View& a, const View& b) {
  const auto narrow = [](const View& v) { return v && size_of(v.dtype) == 2; };
  return narrow(a) || narrow(b) ? 2e-2 : 1e-4;
}

void expect_finite(const char* op, const char* name, const View& points, int64_t width) {
  each_value(points, [&](int64_t i, double v) {
    if (!std::isfinite(v)) refuse_point(op, name, v, i / width);
  });
}

void read_weights(const char* op, const Weights& side, int64_t batch) {
  for (int64_t p = 0; p < batch; ++p) {
    const int64_t begin = side.start[p], end = side.start[p + 1];
    require(end > begin, "transport: a problem without points");
    double mass = 0;
    for (int64_t i = begin; i < end; ++i) {
      const double w = side.given ? value_of(side.given, i) : 1 / double(end - begin);
      if (!(w >= 0) || std::isinf(w)) refuse_weight(op, side.name, w, i);
      side.to[i] = w;
      mass += w;
    }
    if (!(mass > 0)) refuse_no_mass(op, side.name, batch > 1 ? p : -1);
  }
}

void match_masses(const char* op, const Weights& a, const Weights& b, int64_t batch,
                  const char* relief) {
  const double allowed = allowed_difference(a.given, b.given);
  for (int64_t p = 0; p < batch; ++p) {
    const double mass_a = mass_of(a, p), mass_b = mass_of(b, p);
    if (std::fabs(mass_a - mass_b) > allowed * std::max(mass_a, mass_b))
      refuse_masses(op, mass_a, mass_b, relief, batch > 1 ? p : -1);
    const bool unit = std::fabs(mass_a - 1) <= allowed && std::fabs(mass_b - 1) <= allowed;
    const double mass = unit ? 1 : (mass_a + mass_b) / 2;
    rescale(a, p, mass / mass_a);
    rescale(b, p, mass / mass_b);
  }
}

BalancedWeights::BalancedWeights(const char* op, const View& a, const View& b, int64_t batch,
                                 int64_t n, int64_t m)
    : n_(n), m_(m), a_(batch * n), b_(batch * m) {
  require((!a || a.size == batch * n) && (!b || b.size == batch * m), "transport: weights");
  if (!a && !b) {
    const int64_t common = std::gcd(n, m);
    std::fill_n(a_.data(), batch * n, static_cast<double>(m / common));
    std::fill_n(b_.data(), batch * m, static_cast<double>(n / common));
    scale_ = 1 / (static_cast<double>(n) * static_cast<double>(m / common));
    return;
  }
  std::vector<int64_t> start_a, start_b;
  for (int64_t p = 0; p <= batch; ++p) {
    start_a.push_back(p * n);
    start_b.push_back(p * m);
  }
  const Weights rows{"a", a, start_a.data(), a_.data()};
  const Weights columns{"b", b, start_b.data(), b_.data()};
  read_weights(op, rows, batch);
  read_weights(op, columns, batch);
  match_masses(op, rows, columns, batch, nullptr);
}

}  // namespace surprisal
