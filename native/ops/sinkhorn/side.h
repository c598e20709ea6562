// One side of a dual problem: arrays over its points, and what a softmin's sums become. Logarithms
// and exponentials go by vectors. Included inside a target's namespace.

inline F64 load_as_double(const double* p) { return load(p); }
inline F64 load_as_double(const float* p) {
  HalfF32 half;
  std::memcpy(&half, p, sizeof half);
  return __builtin_convertvector(half, F64);
}
inline void store_as(double* p, F64 v) { store(p, v); }
inline void store_as(float* p, F64 v) {
  const HalfF32 half = __builtin_convertvector(v, HalfF32);
  std::memcpy(p, &half, sizeof half);
}

// Beside sums in float32 an error of 1e-11 is nothing.
template <class A>
inline F64 log2_of(F64 x) {
  if constexpr (std::is_same_v<A, float>) return wide::log(x) * 1.4426950408889634;
  return by_lane(x, [](double v) { return std::log2(v); });
}

// Potentials and softmins are in the units of the cost, one value a point; zeros beyond the last.
template <class A>
struct Side {
  Side(const Measure& measure, int64_t n)
      : measure(measure),
        n(n),
        padded(round_up(n, std::max(16, kTileCols<A>))),
        doubles_(8 * padded),
        guesses_(2 * padded),
        potential(part(0)),
        seen(part(1)),
        softmin(part(2)),
        weight(part(3)),
        log_weight(part(4)),
        shift(part(5)),
        error(part(6)),
        mass(part(7)),
        guess(guesses_.data()),
        counted(guesses_.data() + padded) {
    std::fill_n(doubles_.data(), 8 * padded, 0.0);
    std::copy_n(measure.weight, n, weight);
    for (int64_t i = 0; i < padded; i += kLanes<double>)
      store(log_weight + i, log2_of<A>(load(weight + i)));
    least_ = 1e300;
    for (int64_t i = 0; i < n; ++i)
      if (weight[i] > 0) least_ = std::min(least_, weight[i]);
  }
  double rho() const { return measure.rho; }
  bool relaxed() const { return measure.rho >= 0; }
  double damp(double epsilon) const { return relaxed() ? 1 / (1 + epsilon / rho()) : 1; }
  // What the marginal is of the weight where the potential is optimal: e^(-f/rho).
  double marginal(double f) const { return relaxed() ? std::exp(-f / rho()) : 1; }
  F64 marginal(F64 f) const {
    return relaxed() ? power_of_two(f * (-1.4426950408889634 / rho())) : splat(1.0);
  }
  // The potential's part of the dual: rho (1 - e^(-f/rho)), or f.
  double reward(double f) const { return relaxed() ? -rho() * std::expm1(-f / rho()) : f; }
  // Whether a sum of powers of 2, each times a weight, stays in range of A.
  bool has_plain_weights() const {
    return least_ > (std::is_same_v<A, float> ? 0x1p-60 : 0x1p-800) && measure.mass < 0x1p30;
  }

  const Measure& measure;
  const int64_t n, padded;

 private:
  Scratch<double> doubles_;
  Scratch<A> guesses_;
  double least_;
  double* part(int64_t k) const { return doubles_.data() + k * padded; }

 public:
  double* const potential;  // f
  double* const seen;       // f when the other side's softmin was taken
  double* const softmin;    // balanced, at the other side's potential
  double* const weight;
  double* const log_weight;
  double* const shift;  // of the scores
  double *const error, *const mass;
  A* const guess;    // f in log2 units
  A* const counted;  // in a sweep the weights, with the rounding of the guesses; else their
                     // logarithms and the guesses
};

// Before a step: how far a side's marginal is from where it belongs (L1), and the plan's mass.
struct Marginal {
  double error = 0, mass = 0;
  double wanted = 0;  // the weights', or the plan's where the marginal is relaxed
  double relative() const { return error <= 0 ? 0 : error / wanted; }
};

template <class A>
Marginal total(const Side<A>& side) {
  F64 error{}, mass{};
  for (int64_t i = 0; i < side.padded; i += kLanes<double>) {
    error = error + load(side.error + i);
    mass = mass + load(side.mass + i);
  }
  const double sum = reduce_add(mass);
  return {reduce_add(error), sum, side.relaxed() ? sum : side.measure.mass};
}

// 2^x of what guesses lost in rounding.
inline F64 power_of_lost(F64 x) {
  if (any(~(abs(x) < 0x1p-7))) return power_of_two(x);
  const F64 lost = x * 0.6931471805599453;
  return lost * (lost * 0.5 + 1.0) + 1.0;
}

// Guesses, and weights times 2^(what the guesses lost in rounding), where `unit` makes potentials
// logarithms.
template <class A>
void prepare_sweep(Side<A>& side, double unit) {
  for (int64_t i = 0; i < side.padded; i += kLanes<double>) {
    const F64 exact = (load(side.potential + i) - load(side.shift + i)) * unit;
    store_as(side.guess + i, exact);
    const F64 lost = power_of_lost(exact - load_as_double(side.guess + i));
    store_as(side.counted + i, load(side.weight + i) * lost);
  }
}

// Softmins and marginals of points [i, i + count) from their sums, i a multiple of 8, sums of 1
// beyond count; false where a sum has lost digits to an end of the range.
template <class A>
bool settle(Side<A>& side, double unit, int64_t i, int64_t count, const double* sum) {
  const double least = std::is_same_v<A, float> ? 0x1p-60 : 0x1p-800, most = 1 / least;
  I64 fine = I64{} - 1;
  for (int64_t r = 0; r < count; r += kLanes<double>) {
    const F64 s = load(sum + r), f = load(side.potential + i + r);
    const F64 w = load(side.weight + i + r), shift = load(side.shift + i + r);
    fine = fine & (s > least) & (s < most);
    const F64 guess = load_as_double(side.guess + i + r);
    const F64 share = s * power_of_lost((f - shift) * unit - guess);
    store(side.softmin + i + r, (guess - log2_of<A>(s)) * (1 / unit) + shift);
    store(side.error + i + r, w * abs(share - side.marginal(f)));
    store(side.mass + i + r, w * share);
  }
  return !any(~fine);
}
