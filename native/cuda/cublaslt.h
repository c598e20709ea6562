// NVIDIA's matrix products, where their library can be loaded and SURPRISAL_CUBLASLT=1 asks for it.
// Off unless asked for: no measurement says yet where it is faster, and a row's bits may depend on
// how many rows there are. Nothing is linked: the few C functions are looked up by name.
#pragma once
#include "core/view.h"
#include "cuda/runtime.h"

namespace surprisal::cuda {

// out = A·B (+ out with `accumulate`) for `batch` pairs; all matrices by rows, as in
// ops/matmul/op.h, those of pair i at element i * step.
struct Product {
  DType dtype;
  const void *a, *b;
  void* out;
  int64_t m, n, k, batch;
  int64_t a_step, b_step;
  bool transpose_a, transpose_b, accumulate;
};

// Whether it was asked for and is there.
bool has_library();

// Whether the library took the product; if not, nothing happened. One algorithm per device and
// shape, without floating-point atomics: the same bits each run.
bool multiply_by_library(const Product& p, Stream& stream);

}  // namespace surprisal::cuda
