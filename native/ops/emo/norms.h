// Norms of the rows of an embedding. Included inside a target's namespace.

// 1/|E_v|, 0 for a row of zeros.
template <class C>
void inverse_norms(const View& embedding, int64_t classes, int64_t width, C* to) {
  parallel_for(classes, std::max<int64_t>(1, 16384 / width), [&](int64_t begin, int64_t end) {
    C buffer[kBlock];
    for (int64_t v = begin; v < end; ++v) {
      double sum = 0;
      for (int64_t d = 0; d < width; d += kBlock) {
        const int64_t size = std::min(kBlock, width - d);
        const C* x = block_of(embedding, v * width + d, size, buffer);
        vector_t<C> squares{};
        for (int64_t k = 0; k < size; k += kLanes<C>) {
          const vector_t<C> e = part(x, k, size, C{0});
          squares = fma(e, e, squares);
        }
        sum += reduce_add(squares);
      }
      to[v] = sum == 0 ? C{0} : static_cast<C>(1 / std::sqrt(sum));
    }
  });
}
