// Points on directions, and back: coordinates lie feature by feature, (D, ld), ld >= n a multiple
// of kPadding.

namespace emd1d {

using namespace ::surprisal::emd1d;

// to (ld) = <x_i, direction>
template <class A>
void project(const A* points, int64_t ld, const A* direction, int64_t width, A* to) {
  using V = vector_t<A>;
  for (int64_t i = 0; i < ld; i += kLanes<A>) {
    V sum = splat(direction[0]) * load(points + i);
    for (int64_t k = 1; k < width; ++k)
      sum = fma(splat(direction[k]), load(points + k * ld + i), sum);
    store(to + i, sum);
  }
}

// to (D, ld) += sum over `count` lines of slope (count, ld) times direction (count, D).
template <class A>
void unproject(const A* slope, int64_t ld, const A* direction, int64_t count, int64_t width,
               A* to) {
  using V = vector_t<A>;
  parallel_for(ld / kPadding, 64, [&](int64_t begin, int64_t end) {
    for (int64_t k = 0; k < width; ++k) {
      for (int64_t i = begin * kPadding; i < end * kPadding; i += kLanes<A>) {
        V sum = load(to + k * ld + i);
        for (int64_t l = 0; l < count; ++l)
          sum = fma(splat(direction[l * width + k]), load(slope + l * ld + i), sum);
        store(to + k * ld + i, sum);
      }
    }
  });
}

}  // namespace emd1d
