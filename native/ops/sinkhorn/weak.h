// Sums of powers where costs are small beside epsilon. They are 1 + r with an r that a sum near 1
// has no digits left for; epsilon times it are potentials and values. Here r alone is added up:
//   r_i = sum over j of b_j (e^t_ij - 1) + mass b - 1,  t_ij = (f_i + g_j - C_ij)/epsilon,
// and the softmin is f_i - epsilon log(1 + r_i). Few steps are needed, each of which shrinks errors
// by more than cost/epsilon. Included inside a target's namespace.

inline double less_one(double t) {  // e^t - 1
  if (!(std::fabs(t) < 0x1p-6)) return std::expm1(t);
  return t * (1 + t / 2 * (1 + t / 3 * (1 + t / 4 * (1 + t / 5 * (1 + t / 6)))));
}

// r of the rows, in `to`.
template <class A>
void row_excess(const Scores<A>& z, double epsilon, const Side<A>& x, const Side<A>& y,
                double* to) {
  const double inverse = 1 / epsilon;
  parallel_for((z.rows + kRowBlock - 1) / kRowBlock, 1, [&](int64_t begin, int64_t end) {
    alignas(64) A buffer[kRowBlock * kColumnTile];
    for (int64_t i = begin * kRowBlock; i < std::min(end * kRowBlock, z.rows); i += kRowBlock) {
      const int64_t count = std::min(kRowBlock, z.rows - i);
      std::fill_n(to + i, count, y.measure.mass - 1);
      for (int64_t j = 0; j < z.columns; j += kColumnTile) {
        const int64_t width = std::min(kColumnTile, z.padded() - j);
        const auto t = z.tile(i, count, j, width, buffer);
        for (int64_t r = 0; r < count; ++r) {
          const double f = x.potential[i + r] - x.shift[i + r];
          double sum = 0;
          for (int64_t c = 0; c < std::min(width, z.columns - j); ++c) {
            const double g = y.potential[j + c] - y.shift[j + c];
            const double own = f + g + double(z.sign()) * t.z[r * t.ld + c];
            sum += y.weight[j + c] * less_one(own * inverse);
          }
          to[i + r] += sum;
        }
      }
    }
  });
}

// r of the columns.
template <class A>
void column_excess(const Scores<A>& z, double epsilon, const Side<A>& x, const Side<A>& y,
                   double* to) {
  constexpr int64_t kStrip = 64;
  const double inverse = 1 / epsilon;
  parallel_for((z.padded() + kStrip - 1) / kStrip, 1, [&](int64_t begin, int64_t end) {
    alignas(64) A buffer[kRowBlock * kColumnTile];
    for (int64_t j = begin * kStrip; j < std::min(end * kStrip, z.padded()); j += kStrip) {
      const int64_t width = std::min(kStrip, z.padded() - j);
      const int64_t real = std::min(width, z.columns - j);
      for (int64_t c = 0; c < real; ++c) to[j + c] = x.measure.mass - 1;
      for (int64_t i = 0; i < z.rows; i += kRowBlock) {
        const int64_t count = std::min(kRowBlock, z.rows - i);
        const auto t = z.tile(i, count, j, width, buffer);
        for (int64_t r = 0; r < count; ++r) {
          const double f = x.potential[i + r] - x.shift[i + r];
          for (int64_t c = 0; c < real; ++c) {
            const double g = y.potential[j + c] - y.shift[j + c];
            const double own = f + g + double(z.sign()) * t.z[r * t.ld + c];
            to[j + c] += x.weight[i + r] * less_one(own * inverse);
          }
        }
      }
    }
  });
}
