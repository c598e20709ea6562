// Rows of cosines between the labels of some rows and all classes: E_y·Eᵀ over the norms.

template <class C>
class Cosines {
  static constexpr int64_t kPanel = kTileCols<C>;
  static constexpr int64_t kColumns = 192;

 public:
  Cosines(const View& embedding, int64_t classes, int64_t width, int64_t rows)
      : embedding_(embedding),
        classes_(classes),
        width_(width),
        inverse_(classes),
        labels_(rows * width),
        right_(rows * width),
        rows_(rows * classes) {
    inverse_norms<C>(embedding, classes, width, inverse_.data());
    view_ = {rows_.data(), DTypeOf<C>::value, rows * classes};
  }

  // (rows, classes), after make().
  const View& view() const { return view_; }

  // Of `count` labels, -1 for none.
  void make(const int64_t* label, int64_t count) {
    for (int64_t r = 0; r < count; ++r) {
      C* const to = labels_.data() + r * width_;
      const int64_t y = label[r];
      if (y >= 0) load_block(embedding_.dtype, embedding_.data, y * width_, width_, to);
      for (int64_t d = 0; d < width_; ++d) to[d] = y >= 0 ? to[d] * inverse_[y] : C{0};
    }
    pack_transposed(labels_.data(), width_, count, width_, right_.data());
    const int64_t blocks = (classes_ + kColumns - 1) / kColumns;
    parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
      const int64_t part = depth_part(width_);
      Scratch<C> left(kColumns * part), tile(kColumns * kPanel);
      for (int64_t b = begin; b < end; ++b)
        make_block(b * kColumns, std::min(kColumns, classes_ - b * kColumns), count, left, tile);
    });
  }

 private:
  void make_block(int64_t column, int64_t columns, int64_t count, const Scratch<C>& left,
                  const Scratch<C>& tile) const {
    const int64_t part = depth_part(width_);
    for (int64_t row = 0; row < count; row += kPanel) {
      for (int64_t k = 0; k < width_; k += part) {
        const int64_t depth = std::min(part, width_ - k);
        // One part: packed once for all panels.
        if (row == 0 || part < width_) pack(column, columns, k, depth, left.data());
        const C* const right = right_.data() + row * width_ + k * kPanel;
        for (int64_t i = 0; i < columns; i += kTileRows) {
          C* const to = tile.data() + i * kPanel;
          const C* const rows = left.data() + i * depth;
          if (k == 0) {
            multiply_tile<false, Start::zero>(depth, rows, depth, right, to, kPanel);
          } else {
            multiply_tile<false, Start::add>(depth, rows, depth, right, to, kPanel);
          }
        }
      }
      for (int64_t r = 0; r < std::min(kPanel, count - row); ++r) {
        C* const to = rows_.data() + (row + r) * classes_ + column;
        for (int64_t i = 0; i < columns; ++i) to[i] = tile[i * kPanel + r] * inverse_[column + i];
      }
    }
  }

  void pack(int64_t column, int64_t columns, int64_t k, int64_t depth, C* to) const {
    const auto rows = [&](auto tag) {
      using T = typename decltype(tag)::type;
      if constexpr (std::is_same_v<accumulator_t<T>, C>)
        pack_left_rows(embedding_.as<T>() + column * width_ + k, width_, columns, depth, to);
    };
    visit_float(embedding_.dtype, rows);
  }

  const View embedding_;
  const int64_t classes_, width_;
  const Scratch<C> inverse_, labels_, right_, rows_;
  View view_;
};
