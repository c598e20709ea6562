// The soft skeleton of an image (Shit et al. 2021, algorithm 1), in one sweep. Included inside a
// target's namespace after cpu/image_lines.h. Of E_0, the image, and k iterations,
//   E_j+1 = erode(E_j)                     the least of a pixel and its neighbours along each axis
//   D_j   = relu(E_j - dilate(E_j+1))      dilate: the greatest of a pixel's 3 by 3 (by 3)
//   S_0   = D_0,  S_j = S_j-1 + relu(D_j - S_j-1 D_j),  the skeleton is S_k
// An opening erodes first, so that k+1 erosions make them all. At step t of a sweep E_j has its
// unit t - j, from the three before, and then D_j its unit t - j - 2.

// E_0 to E_k+1, of which rings 0 to k + 1 hold what a sweep needs, with infinity at lines' ends.
template <class C>
class Erosions {
 public:
  using V = vector_t<C>;
  static constexpr C kInfinity = std::numeric_limits<C>::infinity();

  Erosions(const Image& image, int64_t iterations, const Rings<C>& rings)
      : image_(image), last_(iterations), rings_(rings), column_(image) {}

  // Steps [t, t + count), where units [from, to) of D_0 to D_k are wanted, level by level:
  // body(j, u, place, D).
  template <class Read, class F>
  void steps(int64_t t, int64_t count, int64_t from, int64_t to, Read read, F body) const {
    for (int64_t u = t; u < t + count; ++u) {
      if (!needed(0, u, from, to)) continue;
      read(u, rings_[0].unit(u));
      for (int64_t r = 0; r < image_.lines(); ++r)
        set_ends(rings_[0].line({u, r}), image_.columns, kInfinity);
    }
    for (int64_t j = 0; j <= last_; ++j) {
      for (int64_t u = t - j - 1; u < t - j - 1 + count; ++u)
        if (needed(j + 1, u, from, to)) erode(j, u);
      for (int64_t u = t - j - 2; u < t - j - 2 + count; ++u)
        if (u >= from && u < to) ridge(j, u, body);
    }
  }
  // The first step, and one after the last.
  int64_t first_step(int64_t from) const { return std::max<int64_t>(0, from - last_ - 2); }
  int64_t end_step(int64_t to) const { return to + last_ + 2; }

 private:
  bool needed(int64_t j, int64_t u, int64_t from, int64_t to) const {
    const int64_t halo = last_ + 2 - j;
    return u >= std::max<int64_t>(0, from - halo) && u < std::min(image_.units(), to + halo);
  }

  // Unit u of E_j+1.
  void erode(int64_t j, int64_t u) const {
    for (int64_t r = 0; r < image_.lines(); ++r) {
      const Line at{u, r};
      const C* const x = rings_[j].line(at);
      const C* const before = rings_[j].near(at, true, -1);
      const C* const after = rings_[j].near(at, true, 1);
      const C* const up = rings_[j].near(at, false, -1);
      const C* const down = rings_[j].near(at, false, 1);
      C* const out = rings_[j + 1].line(at);
      for (int64_t i = 0; i < image_.columns; i += kLanes<C>) {
        V m = min(min(load(before + i), load(after + i)), min(load(x + i - 1), load(x + i + 1)));
        if (image_.volume) m = min(m, min(load(up + i), load(down + i)));
        store(out + i, min(m, load(x + i)));
      }
      set_ends(out, image_.columns, kInfinity);
    }
  }

  // Unit u of D_j.
  template <class F>
  void ridge(int64_t j, int64_t u, F body) const {
    C* const column = column_.data();
    for (int64_t r = 0; r < image_.lines(); ++r) {
      const Line at{u, r};
      for (int64_t by = image_.volume ? -1 : 0; by <= (image_.volume ? 1 : 0); ++by) {
        // A row that is not there repeats its neighbour, as does a unit.
        const Line near{u, std::min(std::max<int64_t>(r + by, 0), image_.lines() - 1)};
        const C* const before = rings_[j + 1].near(near, true, -1);
        const C* const after = rings_[j + 1].near(near, true, 1);
        const C* const middle = rings_[j + 1].line(near);
        for (int64_t i = 0; i < image_.columns; i += kLanes<C>) {
          V m = max(max(load(before + i), load(after + i)), load(middle + i));
          if (image_.volume && by >= 0) m = max(m, load(column + i));
          store(column + i, m);
        }
      }
      column_.ends(-kInfinity);
      const C* const level = rings_[j].line(at);
      for (int64_t i = 0; i < image_.columns; i += kLanes<C>) {
        const V opened = max(max(load(column + i - 1), load(column + i + 1)), load(column + i));
        const V d = load(level + i) - opened;
        body(j, u, r * image_.pitch() + i, select(d <= V{}, V{}, d));
      }
    }
  }

  const Image image_;
  const int64_t last_;
  const Rings<C>& rings_;
  const Padded<C> column_;
};

// Units [from, to) of the skeleton, in order: read(u, E_0's place), emit(u, skeleton, E_0).
template <class C, class Read, class Emit>
void sweep_skeleton(const Image& image, int64_t iterations, int64_t from, int64_t to, Read read,
                    Emit emit) {
  using V = vector_t<C>;
  const int64_t k = iterations;
  // The skeleton's ring comes last.
  const int64_t count = image.steps_at_once(sizeof(C));
  const Rings<C> rings(image, k + 3,
                       [&](int64_t j) { return (j == 0 || j == k + 2 ? k + 3 : 3) + count; });
  const Ring<C>& skeleton = rings[k + 2];
  const Erosions<C> erosions(image, k, rings);
  for (int64_t t = erosions.first_step(from); t < erosions.end_step(to); t += count) {
    erosions.steps(t, count, from, to, read, [&](int64_t j, int64_t u, int64_t place, V d) {
      C* const at = skeleton.unit(u) + place;
      if (j == 0) return store(at, d);
      const V s = load(at), rest = d - s * d;
      store(at, s + select(rest <= V{}, V{}, rest));
    });
    for (int64_t u = t - k - 2; u < t - k - 2 + count; ++u)
      if (u >= from && u < to) emit(u, skeleton.unit(u), rings[0].unit(u));
  }
}
