// How linearEmo is cut on a device: a pure function of sizes, tested without a GPU. What a sum adds
// up, and in which order, follows from the sizes of the tensors alone: strips of classes are of one
// size, and chunks of rows are multiples of what products add up at a time.
#pragma once
#include <algorithm>
#include <cstdint>

namespace surprisal::emo {

constexpr int64_t kLinearStrip = 2048;  // classes
constexpr int64_t kLinearRows = 256;  // of a chunk, or a multiple: kPlainChunk of cuda/gemm_plain.h
constexpr int64_t kMostLinearRows = 8192;

struct LinearShape {
  int64_t rows = 0, classes = 0, width = 0;
  int64_t element = 4;  // bytes: 2, 4 or 8
  bool dx = false, dweight = false;
  int64_t budget = 0;  // bytes

  constexpr bool half() const { return element == 2; }
  constexpr int64_t sum() const { return element == 8 ? 8 : 4; }
};

struct LinearPlan {
  int64_t strip = 0, stride = 0;  // classes, and elements from one row of them to the next
  int64_t rows = 0;               // of a chunk
  int64_t wave = 0;               // rows whose dx is added up at a time
  bool together = true;           // dx of all rows beside dW; else one after the other
  int64_t least = 0;              // bytes of budget
};

constexpr int64_t linear_aligned(int64_t bytes) { return (bytes + 255) / 256 * 256 + 256; }

constexpr LinearPlan plan_linear_device(const LinearShape& s) {
  LinearPlan p;
  p.strip = std::min(s.classes, kLinearStrip);
  p.stride = (p.strip + 7) / 8 * 8;
  const int64_t rows = std::max<int64_t>(1, s.rows), some = std::min(rows, kLinearRows);
  // Labels, weights, sums and slopes of a row; norms.
  const int64_t fixed = linear_aligned(rows * (16 + 9 * s.sum() + 8)) +
                        linear_aligned(s.classes * s.sum()) + 16 * 256;
  // z, cosines and dz, which 16-bit dz has to itself; the row and its label's of the embedding.
  const int64_t each = p.stride * (2 * s.sum() + (s.half() ? 2 : 0)) + 2 * s.width * s.element + 8;
  // dx and dW add up where they go unless they have 16 bits.
  const int64_t row = s.half() && s.dx ? s.width * 4 : 0;
  const int64_t weights = s.half() && s.dweight ? linear_aligned(p.strip * s.width * 4) : 0;
  const int64_t least = fixed + some * each;
  p.together = least + weights + rows * row <= s.budget || row == 0 || weights == 0;
  p.least = least + std::max(weights, some * row);
  const int64_t beside = p.together && row > 0 && weights > 0 ? weights + rows * row : 0;
  const int64_t left = s.budget - fixed - (beside > 0 ? beside : std::max(weights, some * row));
  const auto whole = [&](int64_t n, int64_t most) {
    const int64_t chunks = std::max<int64_t>(1, n / kLinearRows);
    return std::min(std::min(rows, most), chunks * kLinearRows);
  };
  p.rows = whole(left / each, kMostLinearRows);
  p.wave = rows;
  if (row > 0 && !(p.together && weights > 0))
    p.wave = whole((s.budget - fixed - p.rows * each) / row, rows);
  return p;
}

}  // namespace surprisal::emo
