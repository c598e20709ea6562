// The gradient of the soft skeleton, which erodes again, in one sweep: behind the erosions follow
// the slopes by S_k to D_0, then those by E_k+1 to E_0, each level one unit behind the one above.
// Included inside a target's namespace after cpu/soft_skeleton.h.
// At a tie in a window the gradient goes to the first pixel in the order of memory; between axes
// halves go to both, of three first planes with rows, then these with columns; relu'(0) = 0: what
// torch's max_pool and min do. A window's first maximum in the order of memory is in the first
// plane that has it, there in the first row that has it: so a dilation is routed axis by axis.

// The gradient of a pixel x from the windows of three along one axis that hold it, of which g are
// the gradients at their middles; t are the pixels from two before x to two after.
template <bool kMax, class C>
inline vector_t<C> routed(const C* const (&t)[5], const C* const (&g)[3], int64_t i) {
  using V = vector_t<C>;
  const V x = load(t[2] + i);
  const V before = load(t[1] + i), first = load(t[0] + i);
  const V after = load(t[3] + i), last = load(t[4] + i);
  const auto beats_before = kMax ? x > before : x < before;
  const auto beats_first = kMax ? x > first : x < first;
  const auto holds_after = kMax ? x >= after : x <= after;
  const auto holds_last = kMax ? x >= last : x <= last;
  const V from_before = select(beats_before & beats_first, load(g[0] + i), V{});
  const V from_own = select(beats_before & holds_after, load(g[1] + i), V{});
  const V from_after = select(holds_after & holds_last, load(g[2] + i), V{});
  return from_before + from_own + from_after;
}

// A pixel's gradient g in shares of the two values of which it is the lesser.
template <class V>
struct Shares {
  V first, second;
  Shares(V g, V a, V b) {
    const V half = select(a == b, g * 0.5f, g);
    first = select(a > b, V{}, half);
    second = select(b > a, V{}, half);
  }
};

template <class C>
class SlopeSweep {
 public:
  using V = vector_t<C>;
  static constexpr C kInfinity = Erosions<C>::kInfinity;

  SlopeSweep(const Image& image, int64_t iterations)
      : image_(image),
        last_(iterations),
        count_(image.steps_at_once(sizeof(C))),
        levels_(image, last_ + 2, [&](int64_t j) { return 2 * (last_ - j) + 7 + count_; }),
        ridges_(image, last_ + 1, [&](int64_t j) { return 2 * (last_ - j) + 4 + count_; }),
        maxima_(image, last_ + 1, [](int64_t) { return int64_t{6}; }),
        plane_maxima_(image, image.volume ? last_ + 1 : 0, [](int64_t) { return int64_t{6}; }),
        across_(image, last_ + 1, [&](int64_t) { return 3 + count_; }),
        slopes_(image, last_ + 1, [&](int64_t) { return 3 + count_; }),
        within_(image, image.volume ? 2 : 0, [](int64_t) { return int64_t{1}; }),
        low_(image, -kInfinity),
        high_(image, kInfinity),
        zero_(image, C(0)),
        of_maxima_(image),
        by_column_(image) {}

  // Units [from, to) in order: read(u, E_0's place), upstream(u, place of the gradient by the
  // skeleton), emit(u, gradient by E_0, E_0).
  template <class Read, class Upstream, class Emit>
  void run(int64_t from, int64_t to, Read read, Upstream upstream, Emit emit) const {
    const Erosions<C> erosions(image_, last_, levels_);
    const int64_t halo = last_ + 2;
    const int64_t begin = std::max<int64_t>(0, from - halo);
    const int64_t end = std::min(image_.units(), to + halo);
    const Scratch<C> above(image_.unit_size()), before((last_ + 1) * kLanes<C>);
    const Scratch<C*> ridges(last_ + 1);
    for (int64_t t = erosions.first_step(begin); t < to + 2 * last_ + 4; t += count_) {
      erosions.steps(t, count_, begin, end, read, [&](int64_t j, int64_t u, int64_t place, V d) {
        store(ridges_[j].unit(u) + place, d);
      });
      for (int64_t u = t - last_ - 2; u < t - last_ - 2 + count_; ++u) {
        if (u < begin || u >= end) continue;
        upstream(u, above.data());
        chain(u, above.data(), ridges, before);
      }
      for (int64_t j = last_; j >= 0; --j) {
        const int64_t u = t - 2 * last_ - 3 + j;
        for (int64_t v = u; v < u + count_; ++v)
          if (covers(j + 1, v, from, to)) pass(j, v, covers(j + 1, v - 1, from, to));
        for (int64_t v = u - 1; v < u - 1 + count_; ++v)
          if (covers(j, v, from, to)) finish(j, v);
      }
      const int64_t done = t - 2 * last_ - 4;
      for (int64_t u = done; u < done + count_; ++u)
        if (u >= from && u < to) emit(u, slopes_[0].unit(u), levels_[0].unit(u));
    }
  }

 private:
  // Whether unit u of the slopes by E_j is needed.
  bool covers(int64_t j, int64_t u, int64_t from, int64_t to) const {
    return u >= std::max<int64_t>(0, from - j) && u < std::min(image_.units(), to + j);
  }

  // D_0 to D_k into the slopes by E_j - dilate(E_j+1).
  void chain(int64_t u, const C* upstream, const Scratch<C*>& ridges,
             const Scratch<C>& before) const {
    for (int64_t j = 0; j <= last_; ++j) ridges[j] = ridges_[j].unit(u);
    each_vector<C>(image_, [&](int64_t at) {
      V s = load(ridges[0] + at);
      for (int64_t j = 1; j <= last_; ++j) {
        store(&before[j * kLanes<C>], s);
        const V d = load(ridges[j] + at), rest = d - s * d;
        s += select(rest <= V{}, V{}, rest);
      }
      V g = load(upstream + at);
      for (int64_t j = last_; j >= 0; --j) {
        const V d = load(ridges[j] + at);
        V slope = g;
        if (j > 0) {
          const V earlier = load(&before[j * kLanes<C>]);
          const V open = select(d - earlier * d <= V{}, V{}, g);
          slope = open - open * earlier;
          g -= open * d;
        }
        store(ridges[j] + at, select(d <= V{}, V{}, slope));
      }
    });
  }

  // A line of a level, beyond whose ends nothing is greater meanwhile.
  struct Lowered {
    C* const line;
    const int64_t columns;
    Lowered(C* x, int64_t n) : line(x), columns(n) { set_ends(line, columns, -kInfinity); }
    ~Lowered() { set_ends(line, columns, kInfinity); }
    Lowered(const Lowered&) = delete;
  };

  // Unit u of the greatest of three of E_j+1 along lines; in volumes, of these along rows.
  void find_maxima(int64_t j, int64_t u) const {
    for (int64_t r = 0; r < image_.lines(); ++r) {
      const Lowered x(levels_[j + 1].line({u, r}), image_.columns);
      C* const out = maxima_[j].line({u, r});
      for (int64_t i = 0; i < image_.columns; i += kLanes<C>)
        store(out + i, max(max(load(x.line + i - 1), load(x.line + i + 1)), load(x.line + i)));
    }
    for (int64_t r = 0; image_.volume && r < image_.lines(); ++r) {
      const C* const up = maxima_[j].near({u, r}, false, -1);
      const C* const down = maxima_[j].near({u, r}, false, 1);
      const C* const own = maxima_[j].line({u, r});
      C* const out = plane_maxima_[j].line({u, r});
      for (int64_t i = 0; i < image_.columns; i += kLanes<C>)
        store(out + i, max(max(load(up + i), load(down + i)), load(own + i)));
    }
  }

  // The lines about a line across units or within one, and the slopes there.
  template <bool kMax>
  struct Taps {
    const C *values[5], *slopes[3];
    Taps(const SlopeSweep& of, Line at, bool across, const Ring<C>& from, const Ring<C>& g) {
      const C* const none = (kMax ? of.low_ : of.high_).data();
      for (int k = 0; k < 5; ++k) values[k] = from.tap(at, across, k - 2, none);
      for (int k = 0; k < 3; ++k) slopes[k] = g.tap(at, across, k - 1, of.zero_.data());
    }
    // Along the line itself.
    Taps(const C* x, const C* g) {
      for (int k = 0; k < 5; ++k) values[k] = x + k - 2;
      for (int k = 0; k < 3; ++k) slopes[k] = g + k - 1;
    }
    V at(int64_t i) const { return routed<kMax>(values, slopes, i); }
  };

  // Unit u of the slopes by E_j+1 without its dilation, whole for the first time, to those by E_j
  // but for what goes across units.
  void pass(int64_t j, int64_t u, bool has_maxima) const {
    // Windows of the dilation about u reach two units further.
    for (int64_t v = has_maxima ? u + 2 : std::max<int64_t>(0, u - 2); v <= u + 2; ++v)
      if (v < image_.units()) find_maxima(j, v);
    if (image_.volume) {
      for (int64_t r = 0; r < image_.lines(); ++r) {
        const Taps<true> taps(*this, {u, r}, true, plane_maxima_[j], ridges_[j]);
        C* const out = within_[0].line({u, r});
        for (int64_t i = 0; i < image_.columns; i += kLanes<C>) store(out + i, taps.at(i));
      }
    }
    for (int64_t r = 0; r < image_.lines(); ++r) pass_line(j, {u, r});
    for (int64_t r = 0; image_.volume && r < image_.lines(); ++r)
      add(Taps<false>(*this, {u, r}, false, levels_[j], within_[1]), slopes_[j].line({u, r}));
  }
  void pass_line(int64_t j, Line at) const {
    const Ring<C>& above = image_.volume ? within_[0] : ridges_[j];
    const Taps<true> maxima(*this, at, !image_.volume, maxima_[j], above);
    for (int64_t i = 0; i < image_.columns; i += kLanes<C>)
      store(of_maxima_.data() + i, maxima.at(i));
    const Lowered eroded(levels_[j + 1].line(at), image_.columns);
    const Taps<true> dilation(eroded.line, of_maxima_.ends(C(0)));
    const C* const x = levels_[j].line(at);
    const C* const earlier = j < last_ ? slopes_[j + 1].line(at) : zero_.data();
    const C* const tap[] = {levels_[j].near(at, true, -1), levels_[j].near(at, true, 1),
                            levels_[j].near(at, false, -1), levels_[j].near(at, false, 1)};
    C* const across = across_[j].line(at);
    C* const column = by_column_.data();
    for (int64_t i = 0; i < image_.columns; i += kLanes<C>) {
      const V g = load(earlier + i) - dilation.at(i), own = load(x + i);
      const V by_column = min(min(load(x + i - 1), load(x + i + 1)), own);
      const V by_unit = min(min(load(tap[0] + i), load(tap[1] + i)), own);
      if (!image_.volume) {
        const Shares<V> shares(g, by_unit, by_column);
        store(across + i, shares.first);
        store(column + i, shares.second);
        continue;
      }
      const V by_row = min(min(load(tap[2] + i), load(tap[3] + i)), own);
      const Shares<V> outer(g, min(by_unit, by_row), by_column);
      const Shares<V> inner(outer.first, by_unit, by_row);
      store(across + i, inner.first);
      store(within_[1].line(at) + i, inner.second);
      store(column + i, outer.second);
    }
    const Taps<false> erosion(x, by_column_.ends(C(0)));
    const C* const ridge = ridges_[j].line(at);
    C* const out = slopes_[j].line(at);
    for (int64_t i = 0; i < image_.columns; i += kLanes<C>)
      store(out + i, load(ridge + i) + erosion.at(i));
  }
  // Unit u of the slopes by E_j gets what goes across units.
  void finish(int64_t j, int64_t u) const {
    for (int64_t r = 0; r < image_.lines(); ++r)
      add(Taps<false>(*this, {u, r}, true, levels_[j], across_[j]), slopes_[j].line({u, r}));
  }
  void add(const Taps<false>& taps, C* out) const {
    for (int64_t i = 0; i < image_.columns; i += kLanes<C>)
      store(out + i, load(out + i) + taps.at(i));
  }

  const Image image_;
  const int64_t last_, count_;  // of steps at once
  const Rings<C> levels_, ridges_, maxima_, plane_maxima_, across_, slopes_, within_;
  const Filled<C> low_, high_, zero_;
  const Padded<C> of_maxima_, by_column_;
};
