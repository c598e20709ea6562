// Sums over rows and classes that kernels read from the device: what a mean divides by, the weight
// of all classes, the loss itself; the gradient of token weights; upstream x gradient.
#pragma once
#include "cuda/runtime.h"
#include "ops/cross_entropy/device_rows.h"

namespace surprisal::cross_entropy {

struct SumWork {
  RowContext about;
  int64_t classes = 0;  // whose weights are summed and checked; 0: not asked for
  bool losses = false;  // of rows too
  bool check_tokens = false;
  cuda::FaultSite class_fault{}, token_fault{};
  NumbersOut widened;         // (classes), may be absent
  Totals* partial = nullptr;  // (blocks), made by sum()
  int64_t blocks = 1;
  Totals* totals = nullptr;
  NumbersOut loss;  // (1), the reduction of the losses, may be absent
};

// Into work.totals; checks weights where asked to.
void sum(SumWork work, cuda::Stream& stream);
// Of every row, from its loss and the totals of about.
void token_gradient(const RowContext& about, NumbersOut out, cuda::Stream& stream);

}  // namespace surprisal::cross_entropy
