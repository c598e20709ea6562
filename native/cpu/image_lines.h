// Images of two or three axes as units that follow each other: rows of an image, planes of a
// volume. Lines lie along the last axis, each a whole number of vectors; lanes beyond its columns
// hold anything. A sweep goes over the units once and keeps the last ones of each array it needs in
// a ring. Included inside a target's namespace after cpu/blocks.h.

struct Image {
  int64_t planes, rows, columns;  // one plane where there are two axes
  bool volume;                    // three axes

  int64_t units() const { return volume ? planes : rows; }
  int64_t lines() const { return volume ? rows : 1; }  // of a unit
  // Not a power of two, at which neighbouring lines would share cache sets; with room at both ends.
  int64_t pitch() const { return (columns + 31) / 16 * 16; }
  int64_t unit_size() const { return lines() * pitch(); }
  // So many units are met again in the first-level cache, while a sweep goes from level to level.
  int64_t steps_at_once(int64_t element_bytes) const {
    return std::max<int64_t>(1, std::min<int64_t>(16, 8192 / (unit_size() * element_bytes)));
  }
};

// A line of an image.
struct Line {
  int64_t unit, row;
};

// The last `held` units of an array; unit u takes the place of unit u - held.
template <class C>
class Ring {
 public:
  Ring(const Image& image, C* base, int64_t held)
      : base_(base),
        pitch_(image.pitch()),
        lines_(image.lines()),
        units_(image.units()),
        held_(static_cast<uint32_t>(held)) {}

  C* unit(int64_t u) const {
    return base_ + kLead + static_cast<uint32_t>(u) % held_ * lines_ * pitch_;
  }
  C* line(Line at) const { return unit(at.unit) + at.row * pitch_; }
  // The line `by` further across units, or within one; a line that is not there is `missing`.
  const C* tap(Line at, bool across, int64_t by, const C* missing) const {
    (across ? at.unit : at.row) += by;
    const int64_t place = across ? at.unit : at.row;
    return place < 0 || place >= (across ? units_ : lines_) ? missing : line(at);
  }
  // A line that is not there repeats its neighbour, which changes no minimum or maximum.
  const C* near(Line at, bool across, int64_t by) const { return tap(at, across, by, line(at)); }

 private:
  // Two elements before a line and two after it may be written: see Image::pitch.
  static constexpr int64_t kLead = 8;

  C* base_;
  int64_t pitch_, lines_, units_;
  uint32_t held_;
};

// Rings in one piece of memory. `held_of(k)` is how many units ring k holds.
template <class C>
class Rings {
 public:
  template <class F>
  Rings(const Image& image, int64_t count, F held_of)
      : rings_(count), room_(total(image, count, held_of) * image.unit_size()) {
    C* at = room_.data();
    for (int64_t k = 0; k < count; ++k) {
      const int64_t held = std::min(held_of(k), image.units());
      rings_[k] = Ring<C>(image, at, held);
      at += held * image.unit_size();
    }
  }
  const Ring<C>& operator[](int64_t k) const { return rings_[k]; }

 private:
  template <class F>
  static int64_t total(const Image& image, int64_t count, F held_of) {
    int64_t sum = 0;
    for (int64_t k = 0; k < count; ++k) sum += std::min(held_of(k), image.units());
    return sum;
  }
  const Scratch<Ring<C>> rings_;
  const Scratch<C> room_;
};

// What lies beyond the ends of a ring's line.
template <class C>
inline void set_ends(C* line, int64_t columns, C beyond) {
  line[-2] = line[-1] = line[columns] = line[columns + 1] = beyond;
}

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

// Unit u of image `index` of a view to lines of C, and back.
template <class C>
inline void read_unit(const Image& image, const View& view, int64_t index, int64_t u, C* to) {
  const int64_t first = (index * image.units() + u) * image.lines();
  for (int64_t r = 0; r < image.lines(); ++r) {
    C* const line = to + r * image.pitch();
    const C* const found = block_of(view, (first + r) * image.columns, image.columns, line);
    if (found != line) std::memcpy(line, found, image.columns * sizeof(C));
  }
}
template <class C>
inline void write_unit(const Image& image, const C* from, const View& view, int64_t index,
                       int64_t u) {
  const int64_t first = (index * image.units() + u) * image.lines();
  for (int64_t r = 0; r < image.lines(); ++r) {
    const C* const line = from + r * image.pitch();
    const int64_t place = (first + r) * image.columns;
    if (view.dtype == kNative<C>) {
      std::memcpy(view.as<C>() + place, line, image.columns * sizeof(C));
    } else {
      store_block(view.dtype, line, image.columns, view.data, place);
    }
  }
}
// Calls body(place) for the vectors of a unit.
template <class C, class F>
inline void each_vector(const Image& image, F body) {
  for (int64_t r = 0; r < image.lines(); ++r)
    for (int64_t i = 0; i < image.columns; i += kLanes<C>) body(r * image.pitch() + i);
}

// Calls body(index of an image, first unit, end): whole images where there are enough of them for
// the threads, else bands, of which each sweep also goes over `halo` units on both sides.
template <class F>
void each_band(const Image& image, int64_t images, int64_t halo, F body) {
  if (images == 0) return;
  const int64_t wanted = (num_threads() + images - 1) / images;
  const int64_t bands = std::max<int64_t>(1, std::min(wanted, image.units() / (2 * halo)));
  const int64_t each = (image.units() + bands - 1) / bands;
  parallel_for(images * bands, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t from = k % bands * each;
      body(k / bands, from, std::min(image.units(), from + each));
    }
  });
}
