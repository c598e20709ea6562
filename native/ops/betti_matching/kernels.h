// What scan.h lists, by vectors of neighbouring voxels. Compiled once per instruction set.

namespace betti_matching {

#include "ops/betti_matching/scan2.h"
#include "ops/betti_matching/scan3.h"

inline void keys_of(const float* values, int64_t n, bool superlevel, int32_t* keys) {
  const I32 sign = splat(int32_t{superlevel ? std::numeric_limits<int32_t>::min() : 0});
  int64_t p = 0;
  for (; p + kInts <= n; p += kInts) {
    const I32 bits = reinterpret_cast<I32>(load(values + p)) ^ sign;
    const I32 b = pick(bits == splat(std::numeric_limits<int32_t>::min()), splat(0), bits);
    store(keys + p, b ^ (b >> 31 & splat(std::numeric_limits<int32_t>::max())));
  }
  for (; p < n; ++p) keys[p] = surprisal::betti_matching::key_of(values[p], superlevel);
}

inline int32_t least_of(const int32_t* keys, int64_t n) {
  int32_t least = keys[0];
  int64_t p = 0;
  if (n >= kInts) {
    I32 all = load(keys);
    for (; p + kInts <= n; p += kInts) all = pick(load(keys + p) < all, load(keys + p), all);
    for (int i = 0; i < kInts; ++i) least = std::min<int32_t>(least, all[i]);
  }
  for (; p < n; ++p) least = std::min(least, keys[p]);
  return least;
}

inline void combine(const int32_t* a, const int32_t* b, int64_t n, bool is_larger, int32_t* out) {
  int64_t p = 0;
  for (; p + kInts <= n; p += kInts) {
    const I32 x = load(a + p), y = load(b + p);
    store(out + p, pick((x < y) ^ splat(is_larger ? -1 : 0), x, y));
  }
  for (; p < n; ++p) out[p] = is_larger ? std::max(a[p], b[p]) : std::min(a[p], b[p]);
}

// Several walks at a time, a step of each by turns: they do not wait for each other's loads. Those
// that are not at their end soon go on alone, and shorten the way for the others.
inline void roots_of(int32_t* parent, int64_t n, int32_t* nodes) {
  constexpr int kVectors = 4, kSteps = 32;
  int64_t k = 0;
  for (; k + kVectors * kInts <= n; k += kVectors * kInts) {
    check_cancelled_at(k);
    I32 up[kVectors];
    for (int i = 0; i < kVectors; ++i) up[i] = gather(parent, load(nodes + k + i * kInts));
    bool more = true;
    for (int step = 0; more && step < kSteps; ++step) {
      I32 left{};
      for (I32& v : up) {
        const I32 next = gather(parent, pick(I32(v < 0), splat(0), v));
        v = pick(I32(v < 0), v, next);
        left |= v >= 0;
      }
      more = any(left);
    }
    for (int i = 0; i < kVectors; ++i) store(nodes + k + i * kInts, ~up[i]);
    // A walk that goes on has left ~node.
    for (int64_t w = k; more && w < k + kVectors * kInts; ++w)
      if (nodes[w] < 0) nodes[w] = surprisal::betti_matching::root_of(parent, ~nodes[w]);
  }
  for (; k < n; ++k) nodes[k] = surprisal::betti_matching::root_of(parent, nodes[k]);
}

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
