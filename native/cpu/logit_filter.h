// Block-sparse gradients: which tiles (a block of columns x a panel of rows) of dz the two gradient
// products of a LogitStream skip, and a bound on what that costs. With l1, l2 the norms of a row of
// a dropped tile of dz, without its target (which no tile holds),
//   |error of dx, one row|   <= sum over tiles of min(l1 max|w|, l2 |W of the block|_F)
//   |error of dW, one panel| <= |x of the panel|_F (sum over tiles of |tile of dz|_F^2)^1/2
// Each tile is judged by itself, so that the choice depends on no wave and no thread. With a bound
// on the error, a tile may cost its share of it: by rows, and by columns.
// Included inside a target's namespace, before cpu/logit_stream.h.

template <class A>
class LogitTiles {
  static constexpr int64_t kPanel = kTileCols<A>;

 public:
  // Rows and columns of the whole problem, and of the largest wave.
  LogitTiles(const LogitFilter& filter, int64_t rows, int64_t columns, int64_t wave)
      : filter_(filter),
        rows_(rows),
        columns_(columns),
        panels_(wave / kPanel),
        blocks_((columns + kLogitBlock - 1) / kLogitBlock),
        keep_(blocks_ * panels_),
        cost_(2 * blocks_ * panels_),
        weight_norm_(2 * blocks_),
        x_norm_(panels_) {}

  static int64_t row_bytes(int64_t columns) {
    return ((columns + kLogitBlock - 1) / kLogitBlock * 17 + 8) / kPanel + 1;
  }
  static int64_t fixed_bytes(int64_t columns) {
    return (columns + kLogitBlock - 1) / kLogitBlock * 16;
  }

  bool keeps(int64_t column, int64_t panel) const {
    return keep_[column / kLogitBlock * panels_ + panel];
  }

  // Norms of the rows of W in the block from `column`, from their largest and summed squares.
  void set_weight_norm(int64_t column, double largest, double sum) {
    weight_norm_[column / kLogitBlock * 2] = std::sqrt(largest);
    weight_norm_[column / kLogitBlock * 2 + 1] = std::sqrt(sum);
  }
  void set_x_norm(int64_t panel, double squares) { x_norm_[panel] = std::sqrt(squares); }

  // Judges a tile by its largest p off the target and the sums of |dz| and dz^2 of its rows.
  void judge(int64_t column, int64_t columns, int64_t panel, int64_t rows, const A* peak,
             const A* l1, const A* l2) {
    // The sums are rounded like any others; the bound must not be.
    const double slack = 1 + 1e3 * double(std::numeric_limits<A>::epsilon());
    const double* w = &weight_norm_[column / kLogitBlock * 2];
    double largest = 0, x = 0, squares = 0;
    for (int64_t i = 0; i < rows; ++i) {
      // A row that is not a number is kept.
      largest = peak[i] <= largest ? largest : double(peak[i]);
      const double e = slack * std::min(l1[i] * w[0], std::sqrt(double(l2[i])) * w[1]);
      x += e * e;
      squares += slack * slack * l2[i];
    }
    const double dx = std::sqrt(x), dw = std::sqrt(squares) * x_norm_[panel];
    const double part = double(rows) / double(rows_), width = double(columns) / double(columns_);
    const bool drop = filter_.eps >= 0 ? largest < filter_.eps
                                       : dx <= filter_.max_error * std::sqrt(part) * width &&
                                             dw <= filter_.max_error * part * std::sqrt(width);
    const int64_t tile = column / kLogitBlock * panels_ + panel;
    keep_[tile] = !drop;
    cost_[2 * tile] = drop ? dx : 0;
    cost_[2 * tile + 1] = drop ? dw : 0;
  }

  // Adds a wave of `panels` panels, all its columns judged, to the report.
  void count(int64_t panels) {
    for (int64_t panel = 0; panel < panels; ++panel) {
      double dx = 0, dw = 0;
      for (int64_t block = 0; block < blocks_; ++block) {
        const int64_t tile = block * panels_ + panel;
        kept_ += keep_[tile];
        dx += cost_[2 * tile];
        dw += cost_[2 * tile + 1] * cost_[2 * tile + 1];
      }
      tiles_ += blocks_;
      error_x_ += dx * dx;
      error_weight_ += std::sqrt(dw);
    }
  }

  void report() const {
    if (!filter_.report) return;
    filter_.report[0] = tiles_ ? double(kept_) / double(tiles_) : 1;
    filter_.report[1] = std::sqrt(error_x_) / filter_.unit;
    filter_.report[2] = error_weight_ / filter_.unit;
  }

 private:
  const LogitFilter filter_;
  const int64_t rows_, columns_, panels_, blocks_;
  Scratch<uint8_t> keep_;
  Scratch<double> cost_, weight_norm_, x_norm_;
  int64_t kept_ = 0, tiles_ = 0;
  double error_x_ = 0, error_weight_ = 0;
};
