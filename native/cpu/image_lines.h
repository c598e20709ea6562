// Images of two or three axes as lines along the last axis, each a whole number of vectors, and
// what is done with a line and its neighbours. Included inside a target's namespace after
// cpu/blocks.h. Lanes beyond a line's columns hold anything.

struct Image {
  int64_t planes, rows, columns;  // one plane where there are two axes
  bool volume;                    // three axes

  int64_t lines() const { return planes * rows; }
  // Not a power of two, at which neighbouring lines would share cache sets.
  int64_t pitch() const { return (columns + 31) / 16 * 16; }
  int64_t size() const { return lines() * pitch(); }

  // The line `by` further along axis 0 (planes) or 1 (rows), or -1.
  int64_t beyond(int64_t line, int axis, int64_t by) const {
    const int64_t at = (axis == 0 ? line / rows : line % rows) + by;
    if (at < 0 || at >= (axis == 0 ? planes : rows)) return -1;
    return line + (axis == 0 ? by * rows : by);
  }
  // The same of an image's values; a line that is not there is `missing`.
  template <class C>
  const C* tap(const C* values, int64_t line, int axis, int64_t by, const C* missing) const {
    const int64_t k = beyond(line, axis, by);
    return k < 0 ? missing : values + k * pitch();
  }
  // A line that is not there repeats its neighbour, which changes no minimum or maximum.
  template <class C>
  const C* near(const C* values, int64_t line, int axis, int64_t by) const {
    return tap(values, line, axis, by, values + line * pitch());
  }

  template <class F>
  void each_line(F body) const {
    const int64_t grain = std::max<int64_t>(1, 16384 / pitch());
    parallel_for(lines(), grain, [&](int64_t begin, int64_t end) { body(begin, end); });
  }
};

// A line with room on both sides for what lies beyond its ends.
template <class C>
class Padded {
 public:
  explicit Padded(const Image& image)
      : columns_(image.columns), pitch_(image.pitch()), room_(pitch_ + 2 * kRoom) {}
  C* data() const { return room_.data() + kRoom; }
  C* ends(C beyond) const {
    std::fill_n(data() - kRoom, kRoom, beyond);
    std::fill(data() + columns_, data() + pitch_ + kRoom, beyond);
    return data();
  }
  const C* copy(const C* line, C beyond) const {
    std::memcpy(data(), line, columns_ * sizeof(C));
    return ends(beyond);
  }

 private:
  static constexpr int64_t kRoom = 16;
  int64_t columns_, pitch_;
  Scratch<C> room_;
};

// A line of one value.
template <class C>
class Filled {
 public:
  Filled(const Image& image, C value) : line_(image.pitch()) {
    std::fill_n(line_.data(), image.pitch(), value);
  }
  const C* data() const { return line_.data(); }

 private:
  Scratch<C> line_;
};

// Minimum and maximum; a NaN wins, as in torch.
template <class V>
inline V lower(V a, V b) {
  return select(a != a, a, min(a, b));
}
template <class V>
inline V higher(V a, V b) {
  return select(a != a, a, max(a, b));
}

// Image `index` of a view to lines of C, and back.
template <class C>
inline void read_image(const Image& image, const View& view, int64_t index, C* to) {
  image.each_line([&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      load_block(view.dtype, view.data, (index * image.lines() + r) * image.columns, image.columns,
                 to + r * image.pitch());
  });
}
template <class C>
inline void write_image(const Image& image, const C* from, const View& view, int64_t index) {
  image.each_line([&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      store_block(view.dtype, from + r * image.pitch(), image.columns, view.data,
                  (index * image.lines() + r) * image.columns);
  });
}

// Calls body(index of an image): images side by side where there are enough of them for the
// threads, else the lines of one after the other are.
template <class F>
void each_image(int64_t images, F body) {
  if (images < num_threads()) {
    for (int64_t i = 0; i < images; ++i) body(i);
    return;
  }
  parallel_for(images, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}
