// Boxes of matrices (TMA), and the products of warpgroups (wgmma) on what they leave in shared
// memory. Both know one layout: lines of 128 bytes with the 128-byte swizzle.
#pragma once
#include "cuda/emulator/machine.h"
#include "cuda/tensor_map.h"

namespace surprisal::cuda::emulator {

// Where the byte at `offset` of shared memory lies: bits 4..6 are exchanged with bits 7..9.
constexpr uint32_t swizzled(uint32_t offset) { return offset ^ ((offset >> 3) & 0x70); }

// `blocks`: a bit for each block of the cluster that gets the box; 0: the own.
void start_box_load(void* to, const TensorMap* map, int row, int column, uint64_t* barrier,
                    uint32_t blocks, Site site);
void start_box_store(const TensorMap* map, int row, int column, const void* from, Site site);

struct Operation {
  uint64_t a, b;  // descriptors
  int columns;
  bool bfloat, transposed_a, transposed_b, accumulate;
};
struct Product {
  Operation operation;
  Site site;
  int issued = 0;  // threads that started it
  bool done = false;
  std::shared_ptr<std::vector<float>> sums[128];
  std::vector<Thread*> waiting;
};
void multiply_fence_now();
void start_multiply(float* d, const Operation& operation, Site site);
void commit_multiplies();
void wait_multiplies(int left, Site site);

}  // namespace surprisal::cuda::emulator
