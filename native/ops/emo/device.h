// What the CUDA forms with and without logits share: labels, and products of matrices whose sums
// stay accumulators.
#pragma once
#include <string>

#include "cuda/runtime.h"
#include "cuda/token_mean.h"
#include "ops/emo/device_rows.h"
#include "ops/emo/rows.h"

namespace surprisal::emo {

// What bad values are told as, in the name of the form with logits or without.
template <bool kLinear>
void raise_target(const Fault& fault) {
  throw Error(Code::out_of_range,
              std::string(kLinear ? "linearEmo" : "emo") + ": expected target in [0, " +
                  std::to_string(fault.a) + ") or ignoreIndex " + std::to_string(fault.b) +
                  ", got " + std::to_string(fault.value) + " at row " + std::to_string(fault.row));
}
template <bool kLinear>
void raise_nan_weight(const Fault& fault) {
  throw Error(Code::invalid_value, std::string(kLinear ? "linearEmo" : "emo") +
                                       ": expected tokenWeight to hold no NaN, got NaN at row " +
                                       std::to_string(fault.row));
}

// Labels, rules and weights of a call. Bad targets are reported and count as ignored.
RowContext context_of(const Rules& op, void (*raise_target)(const Fault&),
                      void (*raise_weight)(const Fault&), Stream& stream);

// out (m, n) of accumulators = A·Bᵀ: rows of `width` elements of `dtype`, scaled by row and column
// where there are scales. A row's bits do not depend on the other rows.
struct Product {
  DType dtype = DType::f32;
  const void *a = nullptr, *b = nullptr;
  int64_t m = 0, n = 0, width = 0;
  const void *row_scale = nullptr, *column_scale = nullptr;  // of accumulators
  void* out = nullptr;
  int64_t stride = 0;  // of out
};
void multiply(const Product& p, Stream& stream);

// out (m, n) of accumulators = or += a·b: a (m, k) by k or, by m, (k, m), lines `a_stride` apart;
// b (k, n). Sums go on from those in `out` term by term, if k is a multiple of 256 before.
struct CarriedProduct {
  DType dtype = DType::f32;
  const void *a = nullptr, *b = nullptr;
  int64_t m = 0, n = 0, k = 0, a_stride = 0;
  bool a_by_k = true;
  void* out = nullptr;
  bool begins = true;
};
void carry(const CarriedProduct& p, Stream& stream);

// 1/|E_v|, 0 for a row of zeros: (classes) of accumulators.
const void* inverse_norms(const View& embedding, int64_t classes, int64_t width, Stream& stream);

// Rows `label` of the embedding and of the norms; zeros where there is no label.
struct LabelRows {
  void* rows;   // (count, width) of the embedding's dtype
  void* scale;  // (count) of accumulators
};
void gather_labels(const View& embedding, int64_t width, const void* inverse, const int32_t* label,
                   int64_t count, const LabelRows& to, Stream& stream);

}  // namespace surprisal::emo
