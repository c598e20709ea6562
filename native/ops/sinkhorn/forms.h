// Products of a plan that is weighted by a bilinear form. Included inside a target's namespace.

template <class A>
void contract_as(const Contract& op, const Instance& one, const Kept& kept) {
  const Geometry<A> geometry(op, one, 0);
  const auto z = geometry.cross();
  const Measure &x = one.x, &y = one.y;
  const KeptSide own(kept.x, x.n), other(kept.y, y.n);
  const Exponents<A> exponents(*z, op.epsilon, own.f, other.f, y.weight);
  const Values<A> values(op.v, y.start * op.columns, y.n, op.columns);
  // Tiles read whole groups of rows, and panels of columns.
  const int64_t k = op.inner, rows = round_up(x.n, kTileRows);
  Scratch<A> u(rows * k), w(round_up(y.n, kTileCols<A>) * k);
  std::copy_n(Accumulators<A>(op.u, x.start * k, x.n * k).data(), x.n * k, u.data());
  std::fill_n(u.data() + x.n * k, (rows - x.n) * k, A{0});
  pack_transposed(Accumulators<A>(op.w, y.start * k, y.n * k).data(), k, y.n, k, w.data());
  const auto weigh = [&](Tile<A>, int64_t i, int64_t count, int64_t j, int64_t width, A* e,
                         double*) {
    alignas(64) A form[kRowBlock * kColumnTile];
    for (int64_t c = 0; c < width; c += kTileCols<A>)
      for (int64_t r = 0; r < count; r += kTileRows)
        multiply_tile<false, Start::zero>(k, u.data() + (i + r) * k, k, w.data() + (j + c) * k,
                                          form + r * kColumnTile + c, kColumnTile);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t c = 0; c < width; c += kLanes<A>) {
        const int64_t at = r * kColumnTile + c;
        store(e + at, load(e + at) * load(form + at));
      }
  };
  each_mean(exponents.rows(), values, weigh, [&](int64_t i, double, double, const A* means) {
    for (int64_t c = 0; c < op.columns; ++c)
      set_value(op.out, (x.start + i) * op.columns + c, x.weight[i] * means[c]);
  });
}
