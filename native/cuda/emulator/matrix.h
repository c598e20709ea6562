// Tensor-core instructions of a warp: 8x8 tiles between shared memory and registers (ldmatrix,
// stmatrix) and the product of tiles (mma.sync), with the layouts of the PTX manual.
#pragma once
#include "cuda/emulator/machine.h"

namespace surprisal::cuda::emulator {

void load_matrix(uint32_t (&r)[4], const void* row, bool transposed, Site site);
void store_matrix(void* row, const uint32_t (&r)[4], Site site);
void multiply_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bool bfloat,
                      Site site);

}  // namespace surprisal::cuda::emulator
