// How many arrays share a launch, and which blocks work on which: tested without a GPU.
#pragma once
#include <cstdint>

namespace surprisal::optimiser {

constexpr int kThreads = 256;
constexpr int kEach = 4;                  // elements a thread updates
constexpr int kChunk = kThreads * kEach;  // elements a block updates
constexpr int kSumChunk = 8 * kChunk;     // elements a block sums
constexpr int kArrays = 48;               // arrays a launch: 4 KiB of parameters

constexpr int64_t chunks_of(int64_t n, int64_t chunk) { return (n + chunk - 1) / chunk; }

// The last of `count` arrays whose chunks begin at or before `block`; `first` ascends from 0.
template <class Firsts>
constexpr int array_of(const Firsts& first, int count, int64_t block) {
  int low = 0, high = count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (first[middle] <= block ? low : high) = middle;
  }
  return low;
}

}  // namespace surprisal::optimiser
