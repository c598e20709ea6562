// How many numbers a thread makes, and how many blocks that takes: tested without a GPU.
#pragma once
#include <cstdint>
#include <type_traits>

namespace surprisal::random {

constexpr int kThreads = 256;

// Of one Philox block: 2 numbers of 8 bytes or integers, else 4.
template <class T>
constexpr int kEach = std::is_integral_v<T> || std::is_same_v<T, double> ? 2 : 4;

constexpr int64_t blocks_of(int64_t n, int each) {
  const int64_t numbers = int64_t{kThreads} * each;
  return (n + numbers - 1) / numbers;
}

}  // namespace surprisal::random
