// How a kernel names a matrix in device memory to the copy engine of sm_90 (TMA). A kernel takes it
// inside its parameters, declared `const __grid_constant__`, and passes its address on.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace surprisal::cuda {

struct alignas(64) TensorMap {
  uint64_t words[16];
};

// (rows, columns) of a 16-bit dtype, `pitch` elements from row to row: a multiple of 8, as `data`
// is of 16 bytes. Boxes of (box_rows, 64): lines of 128 bytes, swizzled so (the 16 bytes of line r
// at place c lie at c ^ r % 8) as wgmma and the tiles of load_tiles want them. What lies outside of
// the matrix is read as zeros and not written.
TensorMap tensor_map(const void* data, DType dtype, int64_t rows, int64_t columns, int64_t pitch,
                     int box_rows);

}  // namespace surprisal::cuda
