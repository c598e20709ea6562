// The sweeps of scan.h, by vectors of neighbouring voxels. Compiled once per instruction set.

namespace betti_matching {

#include "ops/betti_matching/scan2.h"
#include "ops/betti_matching/scan3.h"

inline I32 gather(const int32_t* from, I32 index) {
#ifdef SURPRISAL_TARGET_AVX2
  return reinterpret_cast<I32>(
      _mm256_i32gather_epi32(from, reinterpret_cast<__m256i>(index), sizeof(int32_t)));
#else
  I32 v{};
  for (int i = 0; i < kInts; ++i) v[i] = from[index[i]];
  return v;
#endif
}

inline void shorten(const Grid& g, int32_t* parent) {
  const int last = g.rank - 1;
  for (int32_t x = 0; x < g.n[0]; ++x) {
    for (int32_t y = 0; y < (last == 2 ? g.n[1] : 1); ++y) {
      const int32_t begin = last == 2 ? g.at(x, y, 0) : g.at(x, 0), end = begin + g.n[last];
      for (int32_t p = begin; p < end; p += kInts) {
        const I32 up = load(parent + p), none = (up < 0) | (iota(p) >= splat(end));
        store(parent + p, pick(none, up, gather(parent, pick(none, splat(0), up))));
      }
    }
  }
}

}  // namespace betti_matching
