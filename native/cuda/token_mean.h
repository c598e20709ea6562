// Losses of rows, weighted and reduced on the device, by the rules of core/token_mean.h: sums of
// segments of a fixed length, then of the segments, the same bits whatever the grid. A few bytes a
// row.
#pragma once
#include "cuda/numbers.h"
#include "cuda/runtime.h"

namespace surprisal::cuda {

// What the losses of the rows add up to.
struct TokenTotals {
  double loss, weight;
};

struct TokenRows {
  Numbers token_weight;
  const int32_t* label = nullptr;  // (rows), may be absent: rows of label -1 are of weight 0
  const double* loss = nullptr;    // of row n at n * stride, before its weight
  int64_t stride = 1;
  int64_t rows = 0;
  Reduction reduction = Reduction::mean;
  FaultSite fault{};  // of weights that are NaN

  __device__ double weight(int64_t n) const {
    return label && load(label + n) < 0 ? 0 : token_weight.weight(n);
  }
  __device__ double loss_of(int64_t n) const { return load(loss + n * stride); }
  // Of a row's weighted loss in the result; 0 where a mean has no weight. Totals are those of a
  // mean that divides.
  __device__ double share(const TokenTotals* totals) const {
    if (reduction != Reduction::mean) return 1;
    const double all = divides() ? load(&totals->weight) : static_cast<double>(rows);
    return all == 0 ? 0 : 1 / all;
  }
  // Of the gradient of row n; without one, whether the row counts.
  __device__ double scale(int64_t n, const TokenTotals* totals, const Numbers& upstream,
                          bool gradient) const {
    const double own = weight(n);
    if (!gradient || own == 0) return own;
    const double up = upstream ? upstream[reduction == Reduction::none ? n : 0] : 1;
    return own * up * share(totals);
  }
  // Whether a mean is divided by something else than the number of rows.
  SP_HOST_DEVICE bool divides() const {
    return reduction == Reduction::mean && (label != nullptr || bool(token_weight));
  }
};

// Totals of the weights, and with `losses` of the losses, which is where weights that are NaN are
// reported; then the reduced loss too, where it has a place.
const TokenTotals* token_totals(const TokenRows& rows, bool losses, const NumbersOut& loss,
                                Stream& stream);
// The weighted loss of each row.
void token_losses(const TokenRows& rows, const NumbersOut& loss, Stream& stream);
// Of the weights; a mean takes totals of losses.
void token_gradient(const TokenRows& rows, const TokenTotals* totals, const Numbers& upstream,
                    const NumbersOut& out, Stream& stream);

}  // namespace surprisal::cuda
