// What the softmax of a row needs: its largest element and the logarithm of its sum. Included
// inside a target's namespace, after cpu/blocks.h.

// Element i of the row is at begin + i; lanes beyond its end repeat what `fill` says.
template <class C>
vector_t<C> part(const C* x, int64_t i, int64_t n, C fill) {
  return i + kLanes<C> <= n ? load(x + i) : load_wide_part(x + i, n - i, fill);
}

template <class C>
double row_max(const View& view, int64_t begin, int64_t n) {
  C buffer[kBlock];
  C top = -std::numeric_limits<C>::infinity();
  for (int64_t at = 0; at < n; at += kBlock) {
    const int64_t count = std::min(kBlock, n - at);
    const C* x = block_of(view, begin + at, count, buffer);
    vector_t<C> most = splat(top);
    for (int64_t i = 0; i < count; i += kLanes<C>) {
      const auto v = part(x, i, count, top);
      most = select((v > most) | (v != v), v, most);
    }
    for (int k = 0; k < kLanes<C>; ++k) top = most[k] > top || most[k] != most[k] ? most[k] : top;
  }
  return top;
}

// log sum e^((x - max)/T)
template <class C>
double row_log(const View& view, int64_t begin, int64_t n, double max, double inverse) {
  C buffer[kBlock];
  double sum = 0;
  for (int64_t at = 0; at < n; at += kBlock) {
    const int64_t count = std::min(kBlock, n - at);
    const C* x = block_of(view, begin + at, count, buffer);
    vector_t<C> block{};
    for (int64_t i = 0; i < count; i += kLanes<C>) {
      const auto v = part(x, i, count, -std::numeric_limits<C>::infinity());
      block += exp((v - static_cast<C>(max)) * static_cast<C>(inverse));
    }
    sum += reduce_add(block);
  }
  return std::log(sum);
}
