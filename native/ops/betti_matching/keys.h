// Values as integers in the order of a sublevel filtration: of x, or of -x for superlevels,
// exactly. -0 equals +0. Doubles that are all floats go the same way; others become their ranks
// among the values of both images, since the comparison image takes values of both.
#pragma once
#include <cmath>
#include <limits>
#include <string>

#include "core/parallel.h"
#include "ops/betti_matching/grid.h"
#include "ops/betti_matching/list.h"
#include "ops/betti_matching/scan.h"

namespace surprisal::betti_matching {

inline int32_t key_of(float x, bool superlevel) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if (superlevel) bits ^= 0x80000000u;
  if (bits == 0x80000000u) bits = 0;
  const int32_t b = static_cast<int32_t>(bits);
  return b ^ (b >> 31 & 0x7fffffff);
}

inline int64_t key_of(double x, bool superlevel) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if (superlevel) bits ^= uint64_t{1} << 63;
  if (bits == uint64_t{1} << 63) bits = 0;
  const int64_t b = static_cast<int64_t>(bits);
  return b ^ (b >> 63 & std::numeric_limits<int64_t>::max());
}

// The keys of up to two images of n values each, and of the value that each is padded with.
struct Keys {
  const int32_t* image[2] = {nullptr, nullptr};
  int32_t padding[2] = {kOutside, kOutside};
  int32_t infinite = kOutside;
  List<int32_t> memory[2];
};

inline bool fits_float(double x) { return static_cast<double>(static_cast<float>(x)) == x; }

// Values and where they stand, sorted stably by value.
struct Ranked {
  uint64_t value;
  uint32_t place;
};

inline void sort_ranked(List<Ranked>& list) {
  List<Ranked> other(list.size());
  other.resize(list.size());
  constexpr int kBits = 11, kBuckets = 1 << kBits;
  for (int shift = 0; shift < 64; shift += kBits) {
    uint32_t count[kBuckets] = {};
    for (int64_t i = 0; i < list.size(); ++i) {
      check_cancelled_at(i);
      ++count[list[i].value >> shift & (kBuckets - 1)];
    }
    if (count[list[0].value >> shift & (kBuckets - 1)] == list.size()) continue;
    uint32_t start = 0;
    for (uint32_t& c : count) {
      const uint32_t size = c;
      c = start;
      start += size;
    }
    for (int64_t i = 0; i < list.size(); ++i) {
      check_cancelled_at(i);
      other[count[list[i].value >> shift & (kBuckets - 1)]++] = list[i];
    }
    list.swap(other);
  }
}

// `values` are what is compared: float images, or double ones.
inline void make_keys(const float* const* values, int images, int64_t n, const double* padding,
                      bool superlevel, Keys& out) {
  out.infinite = key_of(std::numeric_limits<float>::infinity(), false);
  for (int i = 0; i < images; ++i) {
    out.memory[i].resize(n);
    int32_t* keys = out.memory[i].data();
    keys_of(values[i], n, superlevel, keys);
    out.image[i] = keys;
    if (padding) out.padding[i] = key_of(static_cast<float>(padding[i]), superlevel);
  }
}

inline void rank_keys(const double* const* values, int images, int64_t n, const double* padding,
                      bool superlevel, Keys& out) {
  List<Ranked> all(images * n + images + 1);
  const auto add = [&](double x) {
    const uint64_t key = static_cast<uint64_t>(key_of(x, superlevel)) ^ uint64_t { 1 } << 63;
    all.push({key, static_cast<uint32_t>(all.size())});
  };
  for (int i = 0; i < images; ++i) {
    for (int64_t p = 0; p < n; ++p) {
      check_cancelled_at(p);
      add(values[i][p]);
    }
  }
  for (int i = 0; i < images; ++i) add(padding ? padding[i] : 0);
  add(superlevel ? -std::numeric_limits<double>::infinity()
                 : std::numeric_limits<double>::infinity());
  sort_ranked(all);
  for (int i = 0; i < images; ++i) {
    out.memory[i].resize(n);
    out.image[i] = out.memory[i].data();
  }
  int32_t rank = 0;
  for (int64_t k = 0; k < all.size(); ++k) {
    check_cancelled_at(k);
    if (k > 0 && all[k].value != all[k - 1].value) ++rank;
    const int64_t place = all[k].place;
    if (place < images * n)
      out.memory[place / n][place % n] = rank;
    else if (place < images * n + images)
      out.padding[place - images * n] = rank;
    else
      out.infinite = rank;
  }
}

inline void make_keys(const double* const* values, int images, int64_t n, const double* padding,
                      bool superlevel, Keys& out) {
  bool floats = true;
  for (int i = 0; i < images && floats; ++i) {
    for (int64_t p = 0; p < n && floats; ++p) floats = fits_float(values[i][p]);
    if (padding) floats = floats && fits_float(padding[i]);
  }
  if (!floats) return rank_keys(values, images, n, padding, superlevel, out);
  out.infinite = key_of(std::numeric_limits<float>::infinity(), false);
  for (int i = 0; i < images; ++i) {
    out.memory[i].resize(n);
    int32_t* keys = out.memory[i].data();
    for (int64_t p = 0; p < n; ++p) keys[p] = key_of(static_cast<float>(values[i][p]), superlevel);
    out.image[i] = keys;
    if (padding) out.padding[i] = key_of(static_cast<float>(padding[i]), superlevel);
  }
}

}  // namespace surprisal::betti_matching
