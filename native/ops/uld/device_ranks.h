// The ranks of one row's probabilities beside the other's, by a block: the steps of ranks.h. Larger
// values lie in higher bins; those of bins whose ranks meet elements of the same bin are listed in
// the order of the row and sorted by digits (LSD, stable: equal elements keep their order).
#pragma once
#include <cmath>
#include <cstring>
#include <limits>

#include "cuda/block_sum.h"
#include "cuda/rows.h"
#include "ops/uld/plan.h"

namespace surprisal::uld {

using namespace cuda;

constexpr int kDigits = 256;
constexpr int kMostWarps = kMostThreads / kWarp;

struct RankMemory {
  uint32_t student[kMostBins + 1];  // counts; then, of bins to be sorted, how far ranks are apart
  uint32_t teacher[kMostBins + 1];  // counts; then the sign of the bin, 0 for those
  uint32_t counts[kMostWarps * kDigits];
  uint64_t scanned[kMostWarps];
  double gathered[kBlockWarps];
};

__device__ inline int count_of_lanes(uint32_t mask) {
#if defined(__CUDA_ARCH__)
  return __popc(mask);
#else
  return __builtin_popcount(mask);
#endif
}

// The sum of the threads before this one, and of all.
struct Scanned {
  uint64_t before, all;
};
__device__ inline Scanned scan_block(uint64_t own) {
  RankMemory& memory = shared<RankMemory>();
  uint64_t upto = own;
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const uint64_t left = shuffle_up(upto, step);
    if (lane_index() >= step) upto += left;
  }
  if (lane_index() == kWarp - 1) store(&memory.scanned[warp_index()], upto);
  sync_threads();  // each warp's is there
  Scanned out{upto - own, 0};
  for (int w = 0; w < block_size() / kWarp; ++w) {
    const uint64_t x = load(&memory.scanned[w]);
    if (w < warp_index()) out.before += x;
    out.all += x;
  }
  sync_threads();  // before they are written again
  return out;
}

// The stretch of `count` that a warp has.
struct Stretch {
  int begin, end;
  __device__ explicit Stretch(int count) {
    const int each = (count + block_size() - 1) / block_size() * kWarp;
    begin = warp_index() * each < count ? warp_index() * each : count;
    end = begin + each < count ? begin + each : count;
  }
};

template <class Real>
using Bits = std::conditional_t<std::is_same_v<Real, double>, uint64_t, uint32_t>;

// Elements of a row that are to be sorted: keys rise as values fall.
template <class Key>
struct List {
  Key* keys;        // of both halves
  int32_t* places;  // null: not wanted
  int64_t room;     // of a half
  int count = 0;

  __device__ Key* key(int half) const { return keys + half * room; }
  __device__ int32_t* place(int half) const { return places + half * room; }

  // By one digit, from half `turn` to the other.
  __device__ void sort_digit(int turn, int shift) const {
    uint32_t* const all = shared<RankMemory>().counts;
    uint32_t* const own = all + warp_index() * kDigits;
    const int warps = block_size() / kWarp;
    for (int i = thread_index(); i < warps * kDigits; i += block_size()) store(all + i, 0u);
    sync_threads();  // before counting
    const Key* const from = key(turn);
    const Stretch mine(count);
    for (int i = mine.begin + lane_index(); i < mine.end; i += kWarp)
      atomic_add(own + digit(load(from + i), shift), 1u);
    sync_threads();  // counts are complete
    // Eight neighbours of (digits, warps) a thread.
    constexpr int kEach = kDigits / kWarp;
    uint64_t sum = 0;
    for (int e = 0; e < kEach; ++e) sum += load(all + at_of(thread_index() * kEach + e, warps));
    uint32_t before = static_cast<uint32_t>(scan_block(sum).before);
    for (int e = 0; e < kEach; ++e) {
      uint32_t* const at = all + at_of(thread_index() * kEach + e, warps);
      const uint32_t n = load(at);
      store(at, before);
      before += n;
    }
    sync_threads();  // places are known
    for (int tile = mine.begin; tile < mine.end; tile += kWarp) {
      const int i = tile + lane_index();
      const bool inside = i < mine.end;
      const Key k = inside ? load(from + i) : Key(0);
      const int d = digit(k, shift);
      uint32_t peers = ballot(inside);
#pragma unroll
      for (int bit = 0; bit < 8; ++bit) {
        const uint32_t ones = ballot((d >> bit & 1) != 0);
        peers &= (d >> bit & 1) != 0 ? ones : ~ones;
      }
      const uint32_t first = inside ? load(own + d) : 0;
      sync_warp();  // all have read
      if (inside) {
        const int rank = count_of_lanes(peers & ((1u << lane_index()) - 1));
        const uint32_t to = first + static_cast<uint32_t>(rank);
        store(key(turn ^ 1) + to, k);
        if (places) store(place(turn ^ 1) + to, load(place(turn) + i));
        if (peers >> lane_index() == 1) store(own + d, to + 1);
      }
      sync_warp();  // the next places are there
    }
    sync_threads();  // all are placed
  }

 private:
  __device__ static int digit(Key k, int shift) { return static_cast<int>(k >> shift & 255); }
  __device__ static int at_of(int entry, int warps) {
    return entry % warps * kDigits + entry / warps;
  }
};

// Bins by the bits of values between `least` and `most`.
template <class Real>
struct Bins {
  using Key = Bits<Real>;
  Key base, top;
  int shift, used;

  static __device__ Key bits(Real x) {
    Key b;
    std::memcpy(&b, &x, sizeof b);
    return b;
  }
  __device__ Bins(Real least, Real most, int bins)
      : base(bits(least)), top(bits(most)), shift(0), used(0) {
    while ((top - base) >> shift >= Key(bins)) ++shift;
    used = static_cast<int>((top - base) >> shift) + 1;
  }
  __device__ int of(Real x) const {
    return x > 0 ? static_cast<int>((bits(x) - base) >> shift) + 1 : 0;
  }
  __device__ Key key(Real x) const { return top - bits(x); }
  __device__ Real value(Key key) const {
    const Key b = top - key;
    Real x;
    std::memcpy(&x, &b, sizeof x);
    return x;
  }

  // Signs of bins and how far apart ranks are, from counts; how many elements are to be sorted.
  __device__ void judge(int* student, int* teacher) const {
    RankMemory& memory = shared<RankMemory>();
    const int each = (used + block_size() - 1) / block_size();
    const int first = thread_index() * each;
    const auto counts = [&](int i) {
      const int b = used - i;  // the highest first
      return b > 0 ? uint64_t{load(&memory.student[b])} << 32 | load(&memory.teacher[b]) : 0;
    };
    uint64_t own = 0, open = 0;
    for (int i = first; i < first + each; ++i) own += counts(i);
    const uint64_t start = scan_block(own).before;
    uint64_t above = start;
    for (int i = first; i < first + each; ++i) {
      if (sign(above, counts(i)) == 0) open += counts(i);
      above += counts(i);
    }
    const Scanned listed = scan_block(open);
    uint64_t before = listed.before;
    above = start;
    for (int i = first; i < first + each && i < used; ++i) {
      const uint64_t n = counts(i);
      const int s = sign(above, n);
      const uint32_t p = high(above) - high(before), q = low(above) - low(before);
      store(&memory.student[used - i], p - q);
      store(&memory.teacher[used - i], static_cast<uint32_t>(s));
      above += n;
      if (s == 0) before += n;
    }
    *student = static_cast<int>(high(listed.all));
    *teacher = static_cast<int>(low(listed.all));
    sync_threads();  // signs are there
  }

 private:
  static __device__ uint32_t high(uint64_t x) { return static_cast<uint32_t>(x >> 32); }
  static __device__ uint32_t low(uint64_t x) { return static_cast<uint32_t>(x); }
  // Empty bins have one, so that they are not listed.
  static __device__ int sign(uint64_t above, uint64_t n) {
    if (high(above) + high(n) <= low(above)) return -1;
    return n == 0 || high(above) >= low(above) + low(n) ? 1 : 0;
  }
};

}  // namespace surprisal::uld
