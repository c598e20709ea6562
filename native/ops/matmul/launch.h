// What the CUDA kernels of matrix products share: their parameters and the place of a block.
#pragma once
#include "cuda/gemm.h"
#include "cuda/launch.h"
#include "ops/matmul/op.h"
#include "ops/matmul/plan.h"

namespace surprisal::matmul {

// Where the pairs of a batch start in an operand.
struct Starts {
  const int64_t* at;  // on the device; or null, and pair i starts at i * step
  int64_t step;

  __device__ int64_t of(int64_t pair) const { return at ? cuda::load(at + pair) : pair * step; }
};

struct Parameters {
  const void *a, *b;
  void* out;       // (batch, m, n)
  void* partials;  // (parts, batch, m, n) of the accumulator's type, where there are several
  int64_t m, n, k, batch;
  Starts a_starts, b_starts;
  bool transpose_a, transpose_b, accumulate;
  bool a_packed, b_packed;  // see gemm::Operand
  bool out_packed;          // rows of the output start at multiples of 16 bytes
  Plan plan;
};

// What a block, or a cluster of them, computes at a time: a tile of the output of a pair, over part
// of k.
struct Place {
  int64_t row, column, pair, part, begin, end;

  __device__ Place(const Parameters& p, int64_t unit) {
    const int64_t tiles = p.plan.rows * p.plan.columns;
    const int64_t batch = unit / tiles;
    const cuda::gemm::TilePlace tile(unit % tiles, p.plan.rows, p.plan.columns);
    row = tile.row * p.plan.tile_m;
    column = tile.column * p.plan.tile_n;
    part = p.plan.parts > 1 ? batch % p.plan.parts : 0;
    pair = p.plan.parts > 1 ? batch / p.plan.parts : batch;
    begin = part * p.plan.part;
    end = begin + p.plan.part < p.k ? begin + p.plan.part : p.k;
  }
};

// Products of 16-bit floats on tensor cores, with mma.sync. One translation unit a dtype.
void tensor_cores_bf16(const Parameters& p, cuda::Stream& stream);
void tensor_cores_f16(const Parameters& p, cuda::Stream& stream);
// The same with wgmma.
void warpgroups_bf16(const Parameters& p, cuda::Stream& stream);
void warpgroups_f16(const Parameters& p, cuda::Stream& stream);

}  // namespace surprisal::matmul
