// The sweeps of scan.h, by vectors of neighbouring voxels. Compiled once per instruction set.

namespace betti_matching {

#include "ops/betti_matching/scan2.h"
#include "ops/betti_matching/scan3.h"

inline void shorten(const Grid& g, int32_t* parent) {
  const int last = g.rank - 1;
  for (int32_t x = 0; x < g.n[0]; ++x) {
    check_cancelled();
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
