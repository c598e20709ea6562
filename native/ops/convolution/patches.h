// Shifted pixels of a source image (D, H, W) as lines along the positions of a product: along an
// axis, tap t at position q reads the source at q·step + first + t·delta, zero outside.
// Included once per target.

// One axis of a product.
struct Reach {
  int64_t size = 1;   // of the source
  int64_t count = 1;  // positions
  int64_t step = 1;
  int64_t taps = 1, first = 0, delta = 0;
  int64_t kernel_first = 0, kernel_step = 0;       // where their elements of the filter are
  int64_t to_size = 1, to_first = 0, to_step = 1;  // where the positions lie in the destination
};

struct Grid {
  Reach axis[3];
  int64_t plane_size = 1, to_plane_size = 1;  // of source and destination

  int64_t positions() const { return axis[0].count * axis[1].count * axis[2].count; }
  int64_t taps() const { return axis[0].taps * axis[1].taps * axis[2].taps; }
  bool is_whole() const { return positions() == to_plane_size; }

  // Where rows run on without a gap in source and destination, two axes become one.
  void collapse() {
    for (int round = 0; round < 2; ++round) {
      Reach &y = axis[1], &x = axis[2];
      const bool flat = x.taps == 1 && x.first == 0 && x.step == 1 && x.count == x.size &&
                        x.to_step == 1 && x.count == x.to_size && y.step == 1 && y.to_step == 1 &&
                        x.kernel_first == 0;
      if (!flat) return;
      const int64_t width = x.size;
      x = y;
      x.size *= width;
      x.count *= width;
      x.first *= width;
      x.delta *= width;
      x.to_size *= width;
      x.to_first *= width;
      y = axis[0];
      axis[0] = Reach{};
    }
  }
};

// A tap: by how much it shifts the source.
struct Shift {
  int64_t z, y, x;
};
inline Shift shift_of(const Grid& grid, int64_t tap) {
  const Reach &z = grid.axis[0], &y = grid.axis[1], &x = grid.axis[2];
  return {z.first + tap / (y.taps * x.taps) * z.delta, y.first + tap / x.taps % y.taps * y.delta,
          x.first + tap % x.taps * x.delta};
}
// The place of a tap in the filter's kernel.
inline int64_t kernel_place(const Grid& grid, int64_t tap) {
  const Reach &z = grid.axis[0], &y = grid.axis[1], &x = grid.axis[2];
  return z.kernel_first + tap / (y.taps * x.taps) * z.kernel_step + y.kernel_first +
         tap / x.taps % y.taps * y.kernel_step + x.kernel_first + tap % x.taps * x.kernel_step;
}

template <class T>
accumulator_t<T> wide(T x) {
  if constexpr (std::is_same_v<T, accumulator_t<T>>) {
    return x;
  } else {
    return to_float(x);
  }
}

// Rows are short, so the last vector overlaps the one before it.
template <class T>
inline void take_row(const T* from, int64_t step, int64_t count, accumulator_t<T>* to) {
  constexpr int64_t L = kLanes<accumulator_t<T>>;
  if (step == 1 && count >= L) {
    for (int64_t i = 0; i + L <= count; i += L) store(to + i, load_wide(from + i));
    return store(to + (count - L), load_wide(from + (count - L)));
  }
  for (int64_t i = 0; i < count; ++i) to[i] = wide(from[i * step]);
}

inline int64_t ceil_div(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : -(-a / b); }

// Positions [position, position + count) of a tap.
template <class T>
void take_line(const Grid& grid, const T* plane, Shift shift, int64_t position, int64_t count,
               accumulator_t<T>* to) {
  using A = accumulator_t<T>;
  const Reach &zs = grid.axis[0], &ys = grid.axis[1], &xs = grid.axis[2];
  // Positions along x at which the source is inside.
  const int64_t low = std::max<int64_t>(0, ceil_div(-shift.x, xs.step));
  const int64_t high = std::min(xs.count, ceil_div(xs.size - shift.x, xs.step));
  int64_t x = position % xs.count;
  int64_t y = position / xs.count % ys.count;
  int64_t z = position / xs.count / ys.count;
  while (count > 0) {
    const int64_t run = std::min(count, xs.count - x);
    const int64_t at_z = z * zs.step + shift.z, at_y = y * ys.step + shift.y;
    const bool inside = at_z >= 0 && at_z < zs.size && at_y >= 0 && at_y < ys.size;
    const int64_t begin = inside ? std::min(std::max(low, x), x + run) : x + run;
    const int64_t end = inside ? std::max(begin, std::min(high, x + run)) : x + run;
    for (int64_t i = x; i < begin; ++i) to[i - x] = A{0};
    if (end > begin) {
      const T* row = plane + (at_z * ys.size + at_y) * xs.size;
      take_row(row + begin * xs.step + shift.x, xs.step, end - begin, to + (begin - x));
    }
    for (int64_t i = end; i < x + run; ++i) to[i - x] = A{0};
    to += run;
    count -= run;
    x = 0;
    if (++y == ys.count) {
      y = 0;
      ++z;
    }
  }
}

// Stores a line of results at its positions of a destination plane.
template <class T>
void put_line(const Grid& grid, const accumulator_t<T>* from, int64_t position, int64_t count,
              T* plane) {
  if (grid.is_whole()) return narrow(from, count, plane + position);
  const Reach &zs = grid.axis[0], &ys = grid.axis[1], &xs = grid.axis[2];
  int64_t x = position % xs.count;
  for (int64_t row = position / xs.count; count > 0; ++row, x = 0) {
    const int64_t z = zs.to_first + row / ys.count * zs.to_step;
    const int64_t y = ys.to_first + row % ys.count * ys.to_step;
    T* to = plane + (z * ys.to_size + y) * xs.to_size + xs.to_first + x * xs.to_step;
    const int64_t run = std::min(count, xs.count - x);
    for (int64_t i = 0; i < run; ++i) to[i * xs.to_step] = element_of<T>(from[i]);
    from += run;
    count -= run;
  }
}
