// The streaming loop of every loss on z = x·Wᵀ that must not hold z (N, V). Rows of x against rows
// of any second matrix (a classifier, another tower, the batch itself), in waves of rows:
//   logits  z by tiles of 6 columns x 16 rows; the op's terms see each block while it is in cache
//   slopes  z -> dz in place, once the op has finished the rows of the wave
//   dx += dz·W over blocks of columns;  dW += dzᵀ·x, each thread owning columns
// Three products where a wave holds every column (the first wave's z lies in dW's own memory, which
// is not due yet), one more per recomputation otherwise (core/logit_plan.h). Bias, maps, excluded
// columns, temperatures and sums belong to the terms; dz of the targets joins at the end (see
// LogitTargets). With a companion matrix (LogitProblem) every second panel holds rows of that,
// whose products with it the terms see beside z; they have no gradient. Every sum runs in an order
// fixed by D and V, or by the row number for dW: bits depend on no thread count and no wave. After
// Wijmans et al. 2024. Included inside a target's namespace, after cpu/gemm.h, cpu/logit_terms.h
// and cpu/logit_filter.h.

template <class A>
class LogitStream {
  static constexpr int64_t kPanel = kTileCols<A>;
  static constexpr int64_t kPanelStride = kLogitPanelStride<A>;
  struct Wave {
    int64_t first, rows, padded, lent;
    int64_t panels() const { return padded / kPanel; }
  };
  struct Range {
    int64_t begin, end;
    int64_t blocks() const { return (end - begin + kLogitBlock - 1) / kLogitBlock; }
  };

 public:
  LogitStream(const LogitProblem<A>& problem, const LogitPlan& plan, int64_t row_bytes,
              LogitTerms<A>& terms)
      : p_(problem), plan_(plan), terms_(terms), step_(problem.companion ? 2 : 1) {
    const int64_t wave = std::max(plan.first_wave, plan.wave);
    const bool gradient = p_.dx || p_.dw || p_.dbias;
    int64_t elements = 0;
    const auto take = [&](bool wanted, int64_t count) {
      const int64_t at = elements;
      if (wanted) elements += round_up(count, 64);
      return at;
    };
    const int64_t rows = take(true, wave * row_bytes / int64_t(sizeof(A)) + 64);
    shared_ = plan.range >= p_.V;
    const int64_t widest =
        std::max({p_.D, p_.dw ? features_padded() : 0, p_.dx ? depth_padded() : 0});
    const int64_t x = take(true, wave * (shared_ ? widest : p_.D));
    const int64_t features = shared_ ? x : take(bool(p_.dw), wave * features_padded());
    const int64_t dx = shared_ ? x : take(bool(p_.dx), wave * depth_padded());
    const bool later_waves = p_.n > plan.first_wave && !plan.weight_sweep;
    const int64_t own = std::max(plan.first_wave - plan.lent, later_waves ? plan.wave : 0);
    ld_ = own > 0 ? own + kPanel : 0;
    const int64_t sweep = plan.weight_sweep ? plan.sweep_range * (plan.wave + kPanel + p_.D) : 0;
    const int64_t z = take(gradient, std::max(ld_ * plan.range, sweep));
    memory_.reset(new Scratch<A>(elements));
    row_memory_ = memory_->data() + rows;
    x_ = memory_->data() + x;
    features_ = memory_->data() + features;
    dx_ = memory_->data() + dx;
    z_ = memory_->data() + z;
    if (p_.dbias) {
      bias_.reset(new Scratch<double>(p_.V));
      std::fill_n(bias_->data(), p_.V, 0.0);
    }
    if (gradient && !p_.filter.exact())
      tiles_ = std::make_unique<LogitTiles<A>>(p_.filter, p_.n, p_.V, wave);
  }

  void run() {
    if (tiles_) measure_weight();
    for (int64_t first = 0; first < p_.n;) {
      const Wave wave = cut(first);
      run_wave(wave);
      first += wave.rows;
    }
    if (plan_.weight_sweep) sweep();
    if (p_.dbias) write_bias();
    if (tiles_) tiles_->report();
  }

 private:
  // Rows of a wave that may have a gradient.
  int64_t with_gradient(const Wave& wave) const { return wave.padded / step_; }
  int64_t features_padded() const { return round_up(p_.D, kPanel); }
  int64_t depth_padded() const { return round_up(p_.D, kTileRows); }

  // Rows from `first` on; what is left after the first wave is shared out evenly.
  Wave cut(int64_t first) const {
    const bool lend = first == 0 || plan_.weight_sweep;
    const int64_t most = first == 0 ? plan_.first_wave : plan_.wave;
    const int64_t left = p_.n - first;
    const int64_t waves = (left + most - 1) / most;
    const int64_t unit = step_ * kPanel;
    const int64_t padded = first == 0 ? std::min(most, round_up(left, unit))
                                      : round_up((left + waves - 1) / waves, unit);
    return {first, std::min(left, padded), padded, lend ? std::min(plan_.lent, padded) : 0};
  }

  void run_wave(const Wave& wave) {
    const Range all{0, p_.V};
    pack_x(wave);
    terms_.begin(row_memory_, wave.first, wave.padded);
    const bool dw_later = plan_.weight_sweep && !tiles_;
    if (!p_.dx && !p_.dbias && (!p_.dw || dw_later)) {
      if (!p_.sums) return;
      logits(wave, all, true, false);
      return terms_.merge();
    }
    const bool whole = plan_.range >= p_.V;
    if (p_.sums && !whole) {
      logits(wave, all, true, false);
      terms_.merge();
    }
    if (!shared_ && p_.dw) pack_features(wave);
    if (!shared_ && tiles_ && p_.dx) std::fill_n(dx_, wave.padded * depth_padded(), A{0});
    for (int64_t column = 0; column < p_.V; column += plan_.range) {
      const Range range{column, std::min(p_.V, column + plan_.range)};
      logits(wave, range, p_.sums && whole, true);
      if (p_.sums && whole) terms_.merge();
      if (column == 0) terms_.prepare();
      slopes(wave, range);
      if (shared_ && tiles_ && p_.dx) std::fill_n(dx_, wave.padded * depth_padded(), A{0});
      if (p_.dx) gradient_x(wave, range);
      if (p_.dx && range.end == p_.V) write_x(wave);
      if (p_.dw && !plan_.weight_sweep) {
        if (shared_) pack_features(wave);
        gradient_weight(wave, range, p_.dw.data, p_.dw.dtype, wave.first > 0, p_.add_to_dw);
      }
    }
    if (tiles_) tiles_->count(wave.panels());
  }

  // dW in the accumulator's precision by ranges of columns, each over all rows: for a dW that
  // cannot hold partial sums.
  void sweep() {
    A* const panel = z_ + plan_.sweep_range * (plan_.wave + kPanel);
    ld_ = plan_.wave + kPanel;
    for (int64_t column = 0; column < p_.V; column += plan_.sweep_range) {
      const Range range{column, std::min(p_.V, column + plan_.sweep_range)};
      const int64_t at = column * p_.D, elements = (range.end - column) * p_.D;
      for (int64_t first = 0; first < p_.n;) {
        Wave wave = cut(first);
        wave.lent = 0;
        pack_x(wave);
        terms_.begin(row_memory_, wave.first, wave.padded);
        logits(wave, range, false, true);
        terms_.prepare();
        slopes(wave, range, false);
        pack_features(wave);
        gradient_weight(wave, range, panel - at, DTypeOf<A>::value, first > 0, false);
        first += wave.rows;
      }
      parallel_for(elements, 1 << 16, [&](int64_t begin, int64_t end) {
        store_rows(panel + begin, end - begin, p_.dw.data, p_.dw.dtype, at + begin, p_.add_to_dw);
      });
    }
  }

  // Where z of a column lies: the wave's first `lent` rows in dW's memory, the others in z_.
  A* lent_row(int64_t column) const {
    const int64_t bytes = p_.D * size_of(p_.dw.dtype);
    return reinterpret_cast<A*>(static_cast<char*>(p_.dw.data) + column * bytes);
  }
  A* own_row(int64_t column, const Range& range) const { return z_ + (column - range.begin) * ld_; }

  // At most plan_.threads pieces at once, so that their scratch stays within the plan.
  template <class F>
  void parallel_units(int64_t units, F&& f) const {
    const int64_t threads = plan_.threads;
    const bool limit = threads < num_threads();
    parallel_for(units, limit ? (units + threads - 1) / threads : 1, f);
  }

  bool is_companion(int64_t panel) const { return panel % step_ != 0; }
  // Where the row of x is for a row of the wave, or -1.
  int64_t source(const Wave& wave, int64_t row) const {
    return row < wave.rows ? p_.row[wave.first + row] : -1;
  }

  // Calls f(rows, panel) with every `step`th panel of rows as accumulators, zeros where there is no
  // row.
  template <class F>
  void each_panel(const Wave& wave, int64_t step, F&& f) {
    parallel_units(wave.panels() / step, [&](int64_t begin, int64_t end) {
      Scratch<A> rows(kPanel * p_.D);
      for (int64_t panel = begin * step; panel < end * step; panel += step) {
        const void* const all = is_companion(panel) ? p_.companion : p_.x;
        for (int64_t i = 0; i < kPanel; ++i) {
          A* to = rows.data() + i * p_.D;
          const int64_t from = source(wave, panel * kPanel + i);
          if (from >= 0) {
            with_storage<A>(p_.dtype, [&](auto tag) {
              using T = typename decltype(tag)::type;
              widen(static_cast<const T*>(all) + from * p_.D, p_.D, to);
            });
          } else {
            std::fill_n(to, p_.D, A{0});
          }
        }
        f(rows.data(), panel);
      }
    });
  }

  // x_ (panels, D, kPanel), for z.
  void pack_x(const Wave& wave) {
    each_panel(wave, 1, [&](const A* rows, int64_t panel) {
      pack_transposed(rows, p_.D, kPanel, p_.D, x_ + panel * kPanel * p_.D);
      if (tiles_) tiles_->set_x_norm(panel, squares(rows, kPanel * p_.D));
    });
  }
  // features_ (D by kPanel, rows, kPanel), for dW.
  void pack_features(const Wave& wave) {
    each_panel(wave, step_, [&](const A* rows, int64_t panel) {
      for (int64_t d = 0; d < p_.D; d += kPanel) {
        A* to = features_ + d * with_gradient(wave) + panel / step_ * kPanel * kPanel;
        pack_columns<kPanel>(rows + d, p_.D, std::min(kPanel, p_.D - d), kPanel, to);
      }
    });
  }

  void logits(const Wave& wave, const Range& range, bool sums, bool keep) {
    const int64_t strips = std::min(kLogitStrips, range.blocks());
    const int64_t groups = (wave.panels() + kLogitGroup - 1) / kLogitGroup;
    parallel_units(strips * groups, [&](int64_t begin, int64_t end) {
      const int64_t panels = std::min(kLogitGroup, wave.panels());
      Scratch<A> memory(kLogitBlock * kLogitPart + panels * kPanelStride);
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t strip = unit / groups;
        const int64_t panel = unit % groups * kLogitGroup;
        const int64_t panel_end = std::min(wave.panels(), panel + kLogitGroup);
        const int64_t last = range.blocks() * (strip + 1) / strips;
        for (int64_t block = range.blocks() * strip / strips; block < last; ++block) {
          A* const z = memory.data() + kLogitBlock * kLogitPart;
          const int64_t column = range.begin + block * kLogitBlock;
          const int64_t columns = std::min(kLogitBlock, range.end - column);
          logits_block(panel, panel_end, column, columns, memory.data(), z);
          for (int64_t q = panel; sums && q < panel_end; q += step_)
            terms_.sums(strip, q * kPanel, column, columns, z + (q - panel) * kPanelStride);
          if (keep) keep_block(wave, range, panel, panel_end, column, columns, z);
        }
      }
    });
  }

  void logits_block(int64_t panel, int64_t panel_end, int64_t column, int64_t columns, A* left,
                    A* z) {
    multiply_panels(p_.w, panel, 0, panel_end, column, columns, left, z);
    if (p_.companion) multiply_panels(p_.companion, panel, 1, panel_end, column, columns, left, z);
  }

  // Of a block's panels every `step_`th from `offset` on.
  void multiply_panels(const void* w, int64_t panel, int64_t offset, int64_t panel_end,
                       int64_t column, int64_t columns, A* left, A* z) {
    const int64_t part = depth_part(p_.D);
    for (int64_t k = 0; k < p_.D; k += part) {
      const int64_t depth = std::min(part, p_.D - k);
      with_storage<A>(p_.dtype, [&](auto tag) {
        using T = typename decltype(tag)::type;
        pack_left_rows(static_cast<const T*>(w) + column * p_.D + k, p_.D, columns, depth, left);
      });
      for (int64_t q = panel + offset; q < panel_end; q += step_) {
        const A* right = x_ + (q * p_.D + k) * kPanel;
        A* to = z + (q - panel) * kPanelStride;
        for (int64_t i = 0; i < columns; i += kTileRows) {
          const A* rows = left + i * depth;
          if (k == 0) {
            multiply_tile<false, Start::zero>(depth, rows, depth, right, to + i * kPanel, kPanel);
          } else {
            multiply_tile<false, Start::add>(depth, rows, depth, right, to + i * kPanel, kPanel);
          }
        }
      }
    }
  }

  void keep_block(const Wave& wave, const Range& range, int64_t panel, int64_t panel_end,
                  int64_t column, int64_t columns, const A* z) {
    const int64_t lent = wave.lent / kPanel;
    for (int64_t i = 0; i < columns; ++i) {
      for (int64_t q = panel; q < panel_end; ++q) {
        A* to = q < lent ? lent_row(column + i) + q * kPanel
                         : own_row(column + i, range) + (q - lent) * kPanel;
        std::memcpy(to, z + (q - panel) * kPanelStride + i * kPanel, kPanel * sizeof(A));
      }
    }
  }

  void slopes(const Wave& wave, const Range& range, bool count_bias = true) {
    parallel_for(range.blocks(), 1, [&](int64_t begin, int64_t end) {
      Scratch<A> norms(tiles_ ? 3 * wave.padded : 0);
      for (int64_t block = begin; block < end; ++block) {
        const int64_t column = range.begin + block * kLogitBlock;
        const int64_t last = std::min(range.end, column + kLogitBlock);
        if (tiles_) std::fill_n(norms.data(), 3 * wave.padded, A{0});
        for (int64_t c = column; c < last; ++c)
          slopes_of(wave, range, c, norms.data(), p_.dbias && count_bias);
        if (tiles_) judge(wave, range, column, last - column, norms.data());
      }
    });
  }

  void slopes_of(const Wave& wave, const Range& range, int64_t column, A* peak, bool count_bias) {
    const int64_t own = wave.padded - wave.lent;
    if (wave.lent) terms_.slopes(column, 0, wave.lent, lent_row(column), peak);
    A* const own_peak = peak ? peak + wave.lent : nullptr;
    if (own) terms_.slopes(column, wave.lent, own, own_row(column, range), own_peak);
    if (!count_bias) return;
    double& sum = (*bias_)[column];
    if (wave.lent) add_panels(lent_row(column), wave.lent, sum);
    if (own) add_panels(own_row(column, range), own, sum);
  }

  // z of a row and column of the wave.
  A& at(const Wave& wave, const Range& range, int64_t column, int64_t row) const {
    return row < wave.lent ? lent_row(column)[row] : own_row(column, range)[row - wave.lent];
  }
  // Judges the tiles of a block; norms: peak, l1, l2 of each row.
  void judge(const Wave& wave, const Range& range, int64_t column, int64_t columns, A* norms) {
    A* const l1 = norms + wave.padded;
    A* const l2 = l1 + wave.padded;
    for (int64_t c = column; c < column + columns; ++c) {
      for (int64_t row = 0; row < wave.padded; ++row) {
        const A dz = at(wave, range, c, row);
        l1[row] += dz < 0 ? -dz : dz;
        l2[row] += dz * dz;
      }
    }
    for (int64_t panel = 0; panel < wave.panels(); ++panel) {
      const int64_t row = panel * kPanel;
      tiles_->judge(column, columns, panel, std::min(kPanel, wave.rows - row), norms + row,
                    l1 + row, l2 + row);
    }
  }

  static double squares(const A* x, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += double(x[i]) * double(x[i]);
    return sum;
  }

  void measure_weight() {
    with_storage<A>(p_.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T* w = static_cast<const T*>(p_.w);
      parallel_for((p_.V + kLogitBlock - 1) / kLogitBlock, 1, [&](int64_t begin, int64_t end) {
        Scratch<A> line(p_.D);
        for (int64_t block = begin; block < end; ++block) {
          double largest = 0, sum = 0;
          const int64_t last = std::min(p_.V, (block + 1) * kLogitBlock);
          for (int64_t v = block * kLogitBlock; v < last; ++v) {
            widen(w + v * p_.D, p_.D, line.data());
            const double square = squares(line.data(), p_.D);
            largest = std::max(largest, square);
            sum += square;
          }
          tiles_->set_weight_norm(block * kLogitBlock, largest, sum);
        }
      });
    });
  }

  static void add_panels(const A* dz, int64_t rows, double& sum) {
    for (int64_t i = 0; i < rows; i += kPanel)
      sum += reduce_add(load(dz + i) + load(dz + i + kPanel / 2));
  }

  // dx_ (panels, D up to a multiple of 6, kPanel) += dz·W. A unit owns some features of some rows.
  void gradient_x(const Wave& wave, const Range& range) {
    const int64_t groups = (wave.panels() + kLogitGroup - 1) / kLogitGroup;
    int64_t parts = (p_.D + kGradientPart - 1) / kGradientPart;
    while (groups * parts % plan_.threads != 0 && p_.D / parts > 64) ++parts;
    const int64_t features = round_up((p_.D + parts - 1) / parts, kTileRows);
    parts = (p_.D + features - 1) / features;
    parallel_units(groups * parts, [&](int64_t begin, int64_t end) {
      const int64_t panels = std::min(kLogitGroup, wave.panels());
      Scratch<A> memory(kLogitBlock * features + panels * kPanelStride);
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t panel = unit / parts * kLogitGroup;
        const int64_t feature = unit % parts * features;
        for (int64_t column = range.begin; column < range.end; column += kLogitBlock) {
          gradient_x_block(wave, range, panel, std::min(wave.panels(), panel + kLogitGroup), column,
                           feature, std::min(features, p_.D - feature), memory.data());
        }
      }
    });
  }

  bool keeps(int64_t column, int64_t panel) const {
    return !is_companion(panel) && (!tiles_ || tiles_->keeps(column, panel));
  }

  void gradient_x_block(const Wave& wave, const Range& range, int64_t panel, int64_t panel_end,
                        int64_t column, int64_t feature, int64_t features, A* memory) {
    const int64_t columns = std::min(kLogitBlock, range.end - column);
    bool any = false;
    for (int64_t q = panel; q < panel_end; ++q) any |= keeps(column, q);
    if (!any) return;
    A* const left = memory;
    A* const right = memory + columns * round_up(features, kTileRows);
    with_storage<A>(p_.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      pack_columns<kTileRows>(static_cast<const T*>(p_.w) + column * p_.D + feature, p_.D, features,
                              columns, left);
    });
    for (int64_t i = 0; i < columns; ++i) {
      for (int64_t q = panel; q < panel_end; ++q) {
        std::memcpy(right + (q - panel) * kPanelStride + i * kPanel,
                    &at(wave, range, column + i, q * kPanel), kPanel * sizeof(A));
      }
    }
    for (int64_t q = panel; q < panel_end; ++q) {
      if (!keeps(column, q)) continue;
      const A* dz = right + (q - panel) * kPanelStride;
      for (int64_t f = 0; f < features; f += kTileRows) {
        A* to = dx_ + (q * depth_padded() + feature + f) * kPanel;
        if (column == 0 && !tiles_) {
          multiply_tile<true, Start::zero>(columns, left + f * columns, 0, dz, to, kPanel);
        } else {
          multiply_tile<true, Start::add>(columns, left + f * columns, 0, dz, to, kPanel);
        }
      }
    }
  }

  void write_x(const Wave& wave) {
    with_storage<A>(p_.dx.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      parallel_for(wave.rows, 4, [&](int64_t begin, int64_t end) {
        Scratch<A> line(features_padded());
        for (int64_t row = begin; row < end; ++row) {
          const int64_t to = source(wave, row);
          if (to < 0 || is_companion(row / kPanel)) continue;
          const A* from = dx_ + row / kPanel * depth_padded() * kPanel + row % kPanel;
          for (int64_t d = 0; d < p_.D; ++d) line[d] = from[d * kPanel];
          const int64_t y = p_.target[wave.first + row];
          if (y >= 0) {
            const A dz = p_.targets->dz(wave.first + row);
            add_multiple(dz, p_.w, p_.dtype, y * p_.D, p_.D, line.data());
          }
          narrow(line.data(), p_.D, static_cast<T*>(p_.dx.data) + to * p_.D);
        }
      });
    });
  }

  // Rows of dW (`to`, of `dtype`, row 0 being column 0) = dzᵀ·x; `carry`: the sum over rows goes on
  // from there; `add`: it is added at the end.
  void gradient_weight(const Wave& wave, const Range& range, void* to, DType dtype, bool carry,
                       bool add) {
    int64_t rows = kWeightRows;  // divides kLogitBlock
    const int64_t padded = with_gradient(wave);
    while (rows > kTileRows && rows * padded > kWeightPart) rows /= 2;
    const int64_t units = (range.end - range.begin + rows - 1) / rows;
    const bool last = wave.first + wave.rows == p_.n;
    const bool past_caches =
        to == p_.dw.data && !add && p_.V * p_.D * size_of(dtype) > last_level_cache_bytes();
    parallel_units(units, [&](int64_t begin, int64_t end) {
      const int64_t stride = padded + kPanel;
      Scratch<A> memory(rows * (stride + features_padded()));
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t column = range.begin + unit * rows;
        const int64_t columns = std::min(rows, range.end - column);
        A* const sum = memory.data() + rows * stride;
        for (int64_t i = 0; i < columns; ++i) {
          A* left = memory.data() + i * stride;
          if (p_.companion) {
            for (int64_t row = 0; row < wave.padded; row += 2 * kPanel)
              std::memcpy(left + row / 2, &at(wave, range, column + i, row), kPanel * sizeof(A));
            continue;
          }
          if (wave.lent) std::memcpy(left, lent_row(column + i), wave.lent * sizeof(A));
          std::memcpy(left + wave.lent, own_row(column + i, range),
                      (wave.padded - wave.lent) * sizeof(A));
        }
        const int64_t tiles = round_up(columns, kTileRows);
        std::fill_n(memory.data() + columns * stride, (tiles - columns) * stride, A{0});
        std::fill_n(sum, tiles * features_padded(), A{0});
        for (int64_t i = 0; carry && i < columns; ++i)
          load_rows(to, dtype, (column + i) * p_.D, p_.D, sum + i * features_padded());
        if (tiles_) {
          gradient_weight_kept(wave, column, columns, memory.data(), stride, sum);
        } else {
          gradient_weight_rows(wave, 0, padded, columns, memory.data(), stride, sum);
        }
        for (int64_t i = 0; i < columns; ++i) {
          A* row = sum + i * features_padded();
          if (last) add_targets(column + i, row);
          if (past_caches) {
            stream_rows(row, p_.D, to, dtype, (column + i) * p_.D);
          } else {
            store_rows(row, p_.D, to, dtype, (column + i) * p_.D, add);
          }
        }
        if (past_caches) stream_fence();
      }
    });
  }

  // sum (columns, D) += dz of the rows [begin, end)ᵀ·x.
  void gradient_weight_rows(const Wave& wave, int64_t begin, int64_t end, int64_t columns,
                            const A* left, int64_t stride, A* sum) {
    constexpr int64_t kPart = 256;
    for (int64_t k = begin; k < end; k += kPart) {
      const int64_t depth = std::min(kPart, end - k);
      for (int64_t d = 0; d < p_.D; d += kPanel) {
        const A* right = features_ + d * with_gradient(wave) + k * kPanel;
        for (int64_t i = 0; i < columns; i += kTileRows) {
          multiply_tile<false, Start::chain>(depth, left + i * stride + k, stride, right,
                                             sum + i * features_padded() + d, features_padded());
        }
      }
    }
  }

  // The same over the runs of panels that are kept.
  void gradient_weight_kept(const Wave& wave, int64_t column, int64_t columns, const A* left,
                            int64_t stride, A* sum) {
    for (int64_t panel = 0; panel < wave.panels();) {
      int64_t end = panel;
      while (end < wave.panels() && keeps(column, end)) ++end;
      gradient_weight_rows(wave, panel * kPanel, end * kPanel, columns, left, stride, sum);
      while (end < wave.panels() && !keeps(column, end)) ++end;
      panel = end;
    }
  }

  // The column of every row's target, in all waves at once.
  void add_targets(int64_t column, A* sum) const {
    p_.targets->each_row(column, [&](int64_t row) {
      add_multiple(p_.targets->dz(row), p_.x, p_.dtype, p_.row[row] * p_.D, p_.D, sum);
    });
  }

  void write_bias() {
    with_storage<A>(p_.dbias.dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      T* to = static_cast<T*>(p_.dbias.data);
      for (int64_t v = 0; v < p_.V; ++v) {
        double total = (*bias_)[v];
        p_.targets->each_row(v, [&](int64_t row) { total += p_.targets->dz(row); });
        const A sum = static_cast<A>(total);
        narrow(&sum, 1, to + v);
      }
    });
  }

  const LogitProblem<A>& p_;
  const LogitPlan& plan_;
  LogitTerms<A>& terms_;
  const int64_t step_;  // from a panel of rows of x to the next
  std::unique_ptr<Scratch<A>> memory_;
  std::unique_ptr<Scratch<double>> bias_;
  std::unique_ptr<LogitTiles<A>> tiles_;
  A *row_memory_, *x_, *features_, *dx_, *z_;
  int64_t ld_ = 0;
  bool shared_ = false;  // x_, dx_ and features_ are one place
};
