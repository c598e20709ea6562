// The soft skeleton of an image and its gradient (Shit et al. 2021, algorithm 1). Included inside a
// target's namespace after cpu/image_lines.h. Of E_0, the image, and k iterations,
//   E_j+1 = erode(E_j)                     the least of a pixel and its neighbours along each axis
//   D_j   = relu(E_j - dilate(E_j+1))      dilate: the greatest of a pixel's 3 by 3 (by 3)
//   S_0   = D_0,  S_j = S_j-1 + relu(D_j - S_j-1 D_j),  the skeleton is S_k
// An opening erodes first, so that k+1 erosions make them all. The gradient takes them again. At a
// tie in a window it goes to the first pixel in the order of memory; between axes halves go to
// both, of three first planes with rows, then these with columns; relu'(0) = 0: torch's rules for
// max_pool and min. A window's first maximum in the order of memory is the first plane whose
// maximum it is, in it the first row, in it the first column: so axes are routed one by one.

// E_j to E_j+1.
template <class C>
void erode(const Image& image, const C* from, C* to) {
  image.each_line([&](int64_t begin, int64_t end) {
    const Padded<C> padded(image);
    for (int64_t r = begin; r < end; ++r) {
      const C* const x = padded.copy(from + r * image.pitch(), std::numeric_limits<C>::infinity());
      const C* const up = image.near(from, r, 1, -1);
      const C* const down = image.near(from, r, 1, 1);
      const C* const front = image.near(from, r, 0, -1);
      const C* const back = image.near(from, r, 0, 1);
      C* const out = to + r * image.pitch();
      for (int64_t i = 0; i < image.columns; i += kLanes<C>) {
        auto m = lower(lower(load(x + i - 1), load(x + i + 1)), load(x + i));
        m = lower(m, lower(load(up + i), load(down + i)));
        if (image.volume) m = lower(m, lower(load(front + i), load(back + i)));
        store(out + i, m);
      }
    }
  });
}

// Calls body(place, D) for the vectors of D_j, from E_j and E_j+1.
template <class C, class F>
void each_ridge(const Image& image, const C* level, const C* eroded, F body) {
  const int64_t pitch = image.pitch();
  image.each_line([&](int64_t begin, int64_t end) {
    const Padded<C> padded(image);
    for (int64_t r = begin; r < end; ++r) {
      C* const column = padded.data();
      for (int64_t dz = image.volume ? -1 : 0; dz <= (image.volume ? 1 : 0); ++dz) {
        // A plane that is not there repeats this one's, as does a row.
        const int64_t plane = image.beyond(r, 0, dz) < 0 ? r : image.beyond(r, 0, dz);
        const C* const up = image.near(eroded, plane, 1, -1);
        const C* const middle = eroded + plane * pitch;
        const C* const down = image.near(eroded, plane, 1, 1);
        for (int64_t i = 0; i < image.columns; i += kLanes<C>) {
          auto m = higher(higher(load(up + i), load(down + i)), load(middle + i));
          if (dz >= 0 && image.volume) m = higher(m, load(column + i));
          store(column + i, m);
        }
      }
      padded.ends(-std::numeric_limits<C>::infinity());
      for (int64_t i = 0; i < image.columns; i += kLanes<C>) {
        const auto opened =
            higher(higher(load(column + i - 1), load(column + i + 1)), load(column + i));
        const auto d = load(level + r * pitch + i) - opened;
        body(r * pitch + i, select(d <= vector_t<C>{}, vector_t<C>{}, d));
      }
    }
  });
}

// The skeleton; `spare` holds two levels.
template <class C>
void soft_skeleton_of(const Image& image, int64_t iterations, const C* values, C* spare,
                      C* skeleton) {
  using V = vector_t<C>;
  const C* level = values;
  for (int64_t j = 0; j <= iterations; ++j) {
    C* const eroded = spare + (j % 2) * image.size();
    erode(image, level, eroded);
    each_ridge(image, level, eroded, [&](int64_t at, V d) {
      if (j == 0) return store(skeleton + at, d);
      const V s = load(skeleton + at), rest = d - s * d;
      store(skeleton + at, s + select(rest <= V{}, V{}, rest));
    });
    level = eroded;
  }
}

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
class SkeletonGradient {
 public:
  using V = vector_t<C>;

  SkeletonGradient(const Image& image, int64_t iterations)
      : image_(image),
        last_(iterations),
        room_(image.size() * (2 * iterations + (image.volume ? 10 : 7))),
        low_(image, -std::numeric_limits<C>::infinity()),
        high_(image, std::numeric_limits<C>::infinity()),
        zero_(image, C(0)) {
    int64_t at = 2 * last_ + 3;
    for (C** const place : {&now_, &next_, &row_maxima_, &by_row_})
      *place = room_.data() + at++ * image.size();
    if (!image.volume) return;
    for (C** const place : {&plane_maxima_, &by_plane_, &plane_slopes_})
      *place = room_.data() + at++ * image.size();
  }

  // Where E_0 is to be written.
  C* image() const { return level(0); }
  // The gradient by E_0 from that by the skeleton, which is kept.
  C* run(const C* upstream) {
    for (int64_t j = 0; j <= last_; ++j) {
      erode(image_, level(j), level(j + 1));
      C* const to = ridge(j);
      each_ridge(image_, level(j), level(j + 1), [&](int64_t at, V d) { store(to + at, d); });
    }
    image_.each_line([&](int64_t begin, int64_t end) { chain(upstream, begin, end); });
    for (int64_t j = last_; j >= 0; --j) {
      const C* slopes = ridge(j);
      find_maxima(level(j + 1));
      if (image_.volume) {
        route<true, false>(0, plane_maxima_, slopes, plane_slopes_);
        slopes = plane_slopes_;
      }
      image_.each_line([&](int64_t begin, int64_t end) { pass(j, slopes, begin, end); });
      route<false, true>(1, level(j), by_row_, next_);
      if (image_.volume) route<false, true>(0, level(j), by_plane_, next_);
      std::swap(now_, next_);
    }
    return now_;
  }

 private:
  C* level(int64_t j) const { return room_.data() + j * image_.size(); }
  C* ridge(int64_t j) const { return level(last_ + 2 + j); }
  int64_t pitch() const { return image_.pitch(); }

  // D_0 to D_k into the gradients by E_j - dilate(E_j+1).
  void chain(const C* upstream, int64_t begin, int64_t end) const {
    const Scratch<C> before((last_ + 1) * kLanes<C>);
    for (int64_t at = begin * pitch(); at < end * pitch(); at += kLanes<C>) {
      V s = load(ridge(0) + at);
      for (int64_t j = 1; j <= last_; ++j) {
        store(&before[j * kLanes<C>], s);
        const V d = load(ridge(j) + at), rest = d - s * d;
        s += select(rest <= V{}, V{}, rest);
      }
      V g = load(upstream + at);
      for (int64_t j = last_; j >= 0; --j) {
        const V d = load(ridge(j) + at);
        V slope = g;
        if (j > 0) {
          const V earlier = load(&before[j * kLanes<C>]);
          const V open = select(d - earlier * d <= V{}, V{}, g);
          slope = open - open * earlier;
          g -= open * d;
        }
        store(ridge(j) + at, select(d <= V{}, V{}, slope));
      }
    }
  }

  // The greatest of three along lines; of these in volumes the greatest of three along rows.
  void find_maxima(const C* values) const {
    image_.each_line([&](int64_t begin, int64_t end) {
      const Padded<C> padded(image_);
      for (int64_t r = begin; r < end; ++r) {
        const C* const x = padded.copy(values + r * pitch(), low_.data()[0]);
        for (int64_t i = 0; i < image_.columns; i += kLanes<C>)
          store(row_maxima_ + r * pitch() + i,
                higher(higher(load(x + i - 1), load(x + i + 1)), load(x + i)));
      }
    });
    if (!image_.volume) return;
    image_.each_line([&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const C* const up = image_.near<C>(row_maxima_, r, 1, -1);
        const C* const down = image_.near<C>(row_maxima_, r, 1, 1);
        const C* const own = row_maxima_ + r * pitch();
        for (int64_t i = 0; i < image_.columns; i += kLanes<C>)
          store(plane_maxima_ + r * pitch() + i,
                higher(higher(load(up + i), load(down + i)), load(own + i)));
      }
    });
  }

  // The lines about line r along an axis, and the slopes there.
  template <bool kMax>
  struct Taps {
    const C *values[5], *slopes[3];
    Taps(const SkeletonGradient& of, int axis, const C* from, const C* g, int64_t r) {
      const C* const none = (kMax ? of.low_ : of.high_).data();
      for (int k = 0; k < 5; ++k) values[k] = of.image_.tap(from, r, axis, k - 2, none);
      for (int k = 0; k < 3; ++k) slopes[k] = of.image_.tap(g, r, axis, k - 1, of.zero_.data());
    }
    // Along the line itself.
    Taps(const C* x, const C* g) {
      for (int k = 0; k < 5; ++k) values[k] = x + k - 2;
      for (int k = 0; k < 3; ++k) slopes[k] = g + k - 1;
    }
    V at(int64_t i) const { return routed<kMax>(values, slopes, i); }
  };

  template <bool kMax, bool kAdd>
  void route(int axis, const C* values, const C* slopes, C* to) const {
    image_.each_line([&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const Taps<kMax> taps(*this, axis, values, slopes, r);
        C* const out = to + r * pitch();
        for (int64_t i = 0; i < image_.columns; i += kLanes<C>)
          store(out + i, kAdd ? load(out + i) + taps.at(i) : taps.at(i));
      }
    });
  }

  // From the gradient by E_j+1 but for its dilation, in now_, and `slopes`: the whole one, and its
  // shares of each axis, of which that along lines goes on to E_j.
  void pass(int64_t j, const C* slopes, int64_t begin, int64_t end) const {
    const Padded<C> eroded(image_), of_maxima(image_), own(image_), by_column(image_);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t line = r * pitch();
      const Taps<true> maxima(*this, 1, row_maxima_, slopes, r);
      for (int64_t i = 0; i < image_.columns; i += kLanes<C>)
        store(of_maxima.data() + i, maxima.at(i));
      const Taps<true> dilation(eroded.copy(level(j + 1) + line, low_.data()[0]),
                                of_maxima.ends(C(0)));
      const C* const x = own.copy(level(j) + line, high_.data()[0]);
      for (int64_t i = 0; i < image_.columns; i += kLanes<C>) {
        V g = -dilation.at(i);
        if (j < last_) g += load(now_ + line + i);
        share(j, r, i, x, g, by_column.data());
      }
      const Taps<false> erosion(x, by_column.ends(C(0)));
      for (int64_t i = 0; i < image_.columns; i += kLanes<C>)
        store(next_ + line + i, load(ridge(j) + line + i) + erosion.at(i));
    }
  }
  void share(int64_t j, int64_t r, int64_t i, const C* x, V g, C* by_column) const {
    const auto least = [&](int axis, V own) {
      return lower(lower(load(image_.near<C>(level(j), r, axis, -1) + i),
                         load(image_.near<C>(level(j), r, axis, 1) + i)),
                   own);
    };
    const V own = load(x + i), column = lower(lower(load(x + i - 1), load(x + i + 1)), own);
    const V row = least(1, own);
    const int64_t at = r * pitch() + i;
    if (!image_.volume) {
      const Shares<V> shares(g, row, column);
      store(by_row_ + at, shares.first);
      store(by_column + i, shares.second);
      return;
    }
    const V plane = least(0, own);
    const Shares<V> outer(g, lower(plane, row), column), inner(outer.first, plane, row);
    store(by_plane_ + at, inner.first);
    store(by_row_ + at, inner.second);
    store(by_column + i, outer.second);
  }

  const Image image_;
  const int64_t last_;
  const Scratch<C> room_;
  const Filled<C> low_, high_, zero_;
  C *now_, *next_, *row_maxima_, *by_row_;
  C *plane_maxima_ = nullptr, *by_plane_ = nullptr, *plane_slopes_ = nullptr;
};
