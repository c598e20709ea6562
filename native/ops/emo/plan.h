// How many rows of cosines the device makes at a time: a pure function of sizes, tested without a
// GPU. Nothing that a row adds up depends on it.
#pragma once
#include <algorithm>
#include <cstdint>

namespace surprisal::emo {

// Products of fewer rows read the embedding more often than tensor cores take for them; more rows
// gain nothing.
constexpr int64_t kLeastRows = 128, kMostRows = 1024;
constexpr int64_t kCosineBytes = int64_t{256} << 20;

constexpr int64_t rows_at_once(int64_t rows, int64_t classes, int64_t bytes_each) {
  const int64_t fit = kCosineBytes / (classes * bytes_each) / kLeastRows * kLeastRows;
  return std::min(rows, std::clamp(fit, kLeastRows, kMostRows));
}

}  // namespace surprisal::emo
