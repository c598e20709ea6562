// Launch decisions of the CUDA form of the indexing operations.
#pragma once
#include <cstdint>

namespace surprisal::indexing {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// Rows that are moved in units (packs of elements): `lanes` threads a row, `per_lane` units each.
struct RowPlan {
  int lanes = 1;       // a power of two
  int64_t chunk = 1;   // units of a row that a block moves
  int64_t chunks = 1;  // blocks beside each other on a row
  int64_t blocks = 0;
};

constexpr RowPlan plan_rows(int64_t rows, int64_t units, int per_lane) {
  RowPlan plan;
  // A warp a row as soon as the row fills it: neighbours in a warp touch neighbours in memory.
  while (plan.lanes < units && plan.lanes < 32) plan.lanes *= 2;
  while (plan.lanes * per_lane < units && plan.lanes < kThreads) plan.lanes *= 2;
  plan.chunk = int64_t{plan.lanes} * per_lane;
  plan.chunks = units > plan.chunk ? (units + plan.chunk - 1) / plan.chunk : 1;
  const int64_t rows_per_block = kThreads / plan.lanes;
  plan.blocks = (rows + rows_per_block - 1) / rows_per_block * plan.chunks;
  return plan;
}

// Bytes of the widest access that fits rows of `row_bytes` at addresses whose bits are in `bits`.
constexpr int plan_access(int64_t row_bytes, uint64_t bits, int element) {
  int bytes = 16;
  while (bytes > element && (row_bytes % bytes != 0 || bits % bytes != 0)) bytes /= 2;
  return bytes;
}

// Sorting n indices by destination: a block lists those of `destinations` neighbours and reads the
// whole index array for it, twice. More destinations a block: fewer reads, fewer blocks.
struct SortPlan {
  int destinations = 256;
  int64_t chunks = 1;  // blocks a line
  int64_t shared = 0;
};

constexpr int kFewDestinations = 256, kManyDestinations = 2048;

constexpr SortPlan plan_sort(int64_t lines, int64_t size, int processors) {
  SortPlan plan;
  // Many only where they still give every processor two blocks.
  const int64_t blocks = lines * (size / kManyDestinations);
  plan.destinations = blocks >= 2 * processors ? kManyDestinations : kFewDestinations;
  plan.chunks = size > 0 ? (size + plan.destinations - 1) / plan.destinations : 1;
  plan.shared = int64_t{kWarps} * plan.destinations * 4 + kWarps * 8 + kWarps * 4;
  return plan;
}

// How ScatterAdd finds the indices of one destination: by comparing each index with all of its line
// (n reads an index), or by sorting lines as above (2 n reads a block).
constexpr bool scatter_compares(int64_t n, int64_t size) {
  return n <= 32 || n <= 2 * (size / kFewDestinations);
}

}  // namespace surprisal::indexing
