// What a solve keeps of each side, and the plan's exponents from it. Included inside a target's
// namespace.

// One side's part of `potentials`.
struct KeptSide {
  KeptSide(const double* from, int64_t n) : f(from), seen(from + n), softmin(from + 2 * n) {}
  const double *f, *seen, *softmin;
};

// Exponents of rows and columns: e_ij = 2^(k Z_ij + row_i + column_j).
template <class A>
class Exponents {
 public:
  Exponents(const Scores<A>& z, double epsilon, const double* row, const double* column,
            const double* weight)
      : k_(static_cast<A>(1.4426950408889634 / epsilon)), z_(z), row_(z.rows), column_(z.padded()) {
    const double k = k_;
    for (int64_t i = 0; i < z.rows; ++i) row_[i] = static_cast<A>(k * (row[i] - z.row_shift(i)));
    std::fill_n(column_.data(), z.padded(), kNothing<A>);
    for (int64_t j = 0; j < z.columns; ++j) {
      if (weight[j] <= 0) continue;
      column_[j] = static_cast<A>(k * (column[j] - z.column_shift(j)) + std::log2(weight[j]));
    }
  }
  Rows<A> rows() const { return {z_, k_, row_.data(), column_.data()}; }

 private:
  const A k_;
  const Scores<A>& z_;
  Scratch<A> row_, column_;
};

inline double row_mass(const Measure& m, const KeptSide& kept, int64_t i) {
  return m.weight[i] * (m.rho >= 0 ? std::exp(-kept.f[i] / m.rho) : 1);
}
