// The main loop of matrix products on sm_90: one warpgroup has the copy engine bring steps of both
// operands to shared memory, the others (consumers, 64 rows each) multiply them with wgmma and keep
// the float32 sums in registers. Blocks are persistent: the copies of a tile run on under the
// epilogue of the one before. Two blocks of a cluster hold neighbouring rows and share the columns:
// each fetches half of them for both, without which the second-level cache would set the speed
// (research: 8.8 TB/s at 750 TFLOP/s, 5.9 with).
// Ring of stages: `full` counts the bytes of a step, `empty` the consumers of all blocks of the
// cluster, because a block's half of the columns goes into every block.
// Operands are those of cuda/gemm.h that are packed; each has a TensorMap of the boxes that
// `box_rows` says. Sums run over k in order, in steps of 16, whatever the tile.
#pragma once
#include "cuda/device.h"
#include "cuda/gemm.h"
#include "cuda/wide_plan.h"

namespace surprisal::cuda::gemm {

// Consumers x 64 rows, Columns sums of a row, by clusters of Cluster blocks.
template <int Consumers, int Columns, int Cluster, int Stages>
struct WideTile {
  static constexpr int kM = Consumers * 64, kN = Columns, kK = 64;
  static constexpr int kConsumers = Consumers, kCluster = Cluster, kStages = Stages;
  static constexpr int kGroup = 128;  // threads of a warpgroup
  static constexpr int kThreads = (1 + Consumers) * kGroup;
  static constexpr int kBlocks = Consumers == 1 ? 2 : 1;
  static constexpr int kProducerRegisters = 40, kConsumerRegisters = Consumers == 1 ? 200 : 232;
  static_assert((kProducerRegisters + Consumers * kConsumerRegisters) * kGroup * kBlocks <= 64512,
                "the registers of a processor");
  static constexpr int kLeft = kM * kK * 2, kRight = kN * kK * 2;  // bytes of a step

  struct Memory {
    alignas(1024) unsigned char left[Stages][kLeft];
    alignas(1024) unsigned char right[Stages][kRight];
    Barrier full[Stages], empty[Stages];
  };
  static_assert(sizeof(Memory) * kBlocks <= 227 * 1024 - kBlocks * 1024,
                "the shared memory of sm_90");
};
using WideLarge = WideTile<2, 256, 2, 4>;
using WideSmall = WideTile<1, 128, 1, 4>;
static_assert(WideLarge::kM * WideLarge::kCluster == kWideLargeM && WideLarge::kN == kWideLargeN &&
                  WideSmall::kM == kWideSmallM && WideSmall::kN == kWideSmallN,
              "the tiles of the plans");

// Rows of a side's boxes: by k, all rows of a block's share of the tile; by mn, the k of a step.
constexpr int box_rows(Major major, int rows) { return major == Major::k ? rows : 64; }

#if defined(SP_WGMMA)
// A stage of the ring and the parity of its current use.
template <int Stages>
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void next() {
    if (++stage == Stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

template <class Tile>
__device__ inline void open_ring(typename Tile::Memory& memory) {
  if (thread_index() == 0) {
    for (int i = 0; i < Tile::kStages; ++i) {
      barrier_init(&memory.full[i], 1);
      barrier_init(&memory.empty[i], Tile::kConsumers * Tile::kCluster);
    }
    barrier_init_fence();
  }
  if constexpr (Tile::kCluster > 1) {
    sync_cluster();  // no block may arrive at, or copy into, one that is not ready
  } else {
    sync_threads();  // barriers are there
  }
}
// No block may leave while another can still copy into it or arrive at its barriers.
template <class Tile>
__device__ inline void close_ring() {
  if constexpr (Tile::kCluster > 1) sync_cluster();
}

// Whose elements a tile is: the matrix of k by mn (or mn by k) that `map` describes. `start` is the
// line of the map where the pair of a batch begins.
struct BoxSource {
  const TensorMap* map;
  int start;
};

// By one thread: has a step of the operands brought. row is the block's, column the cluster's.
template <class Tile, Major a_major, Major b_major>
__device__ inline void fetch_step(typename Tile::Memory& memory, const BoxSource& a,
                                  const BoxSource& b, RingPlace<Tile::kStages>& place, int row,
                                  int column, int k) {
  constexpr int kShare = Tile::kN / Tile::kCluster;  // columns that this block fetches for all
  constexpr int kPanel = 64 * 128;                   // bytes of 64 k by 64 mn
  Barrier* full = &memory.full[place.stage];
  barrier_wait(&memory.empty[place.stage], place.parity ^ 1);  // the first round finds it empty
  barrier_expect(full, Tile::kLeft + Tile::kRight);
  unsigned char* left = memory.left[place.stage];
  if constexpr (a_major == Major::k) {
    box_load(left, a.map, a.start + row, k, full);
  } else {
#pragma unroll
    for (int p = 0; p < Tile::kM / 64; ++p)
      box_load(left + p * kPanel, a.map, a.start + k, row + 64 * p, full);
  }
  int first = 0;
  if constexpr (Tile::kCluster > 1) first = cluster_rank() * kShare;
  const auto load = [&](int offset, int line, int at) {
    unsigned char* right = memory.right[place.stage] + offset;
    if constexpr (Tile::kCluster > 1) {
      box_load_all(right, b.map, line, at, full, (1u << Tile::kCluster) - 1);
    } else {
      box_load(right, b.map, line, at, full);
    }
  };
  if constexpr (b_major == Major::k) {
    load(first * 128, b.start + column + first, k);
  } else {
#pragma unroll
    for (int p = 0; p < kShare / 64; ++p)
      load((first / 64 + p) * kPanel, b.start + k, column + first + 64 * p);
  }
  place.next();
}

// By one consumer's threads: they arrive at the barriers of every block of the cluster.
template <class Tile>
__device__ inline void release_stage(typename Tile::Memory& memory, int stage) {
  const int rank = thread_index() % Tile::kGroup;
  if constexpr (Tile::kCluster > 1) {
    if (rank < Tile::kCluster) barrier_arrive_at(&memory.empty[stage], rank);
  } else {
    if (rank == 0) barrier_arrive(&memory.empty[stage]);
  }
}

// By one thread: all steps of a sum over k in [0, depth), or those that `which` says.
template <class Tile, Major a_major, Major b_major, class Steps = EveryStep>
__device__ inline void fetch_steps(typename Tile::Memory& memory, const BoxSource& a,
                                   const BoxSource& b, RingPlace<Tile::kStages>& place, int row,
                                   int column, int depth, const Steps& which = {}) {
  const int steps = static_cast<int>(which.steps(depth, Tile::kK));
  for (int i = 0; i < steps; ++i)
    fetch_step<Tile, a_major, b_major>(memory, a, b, place, row, column, which.at(i, Tile::kK));
}

// sums = the product over `steps` steps, at least one, which fetch_step brings in this order; with
// kCarry that is added to them. By consumer number `consumer`, whose rows of the tile are 64
// consumer ...
template <class T, class Tile, Major a_major, Major b_major, bool kCarry = false>
__device__ inline void multiply_steps(float (&sums)[Tile::kN / 2], typename Tile::Memory& memory,
                                      RingPlace<Tile::kStages>& place, int consumer, int steps) {
  constexpr bool kColumnsOfA = a_major == Major::mn, kRowsOfB = b_major == Major::mn;
  constexpr int kPanel = 64 * 128;
  constexpr int kDeepA = kColumnsOfA ? 16 * 128 : 32;  // bytes from 16 k to the next
  constexpr int kDeepB = kRowsOfB ? 16 * 128 : 32;
  if constexpr (kCarry) pin(sums);
  int previous = -1;
  for (int step = 0; step < steps; ++step) {
    barrier_wait(&memory.full[place.stage], place.parity);
    const unsigned char* left = memory.left[place.stage] + consumer * kPanel;
    const unsigned char* right = memory.right[place.stage];
    multiply_fence();
#pragma unroll
    for (int i = 0; i < Tile::kK / 16; ++i)
      multiply<T, Tile::kN, kColumnsOfA, kRowsOfB>(sums, operand(left + i * kDeepA, kPanel),
                                                   operand(right + i * kDeepB, kPanel),
                                                   kCarry || step > 0 || i > 0);
    multiply_commit();
    if (previous >= 0) {
      multiply_wait<1>();  // the step before is done with its stage
      release_stage<Tile>(memory, previous);
    }
    previous = place.stage;
    place.next();
  }
  multiply_wait<0>();
  pin(sums);
  release_stage<Tile>(memory, previous);
}

// What a block does: one thread of the first warpgroup brings steps by produce(memory, place), each
// other warpgroup multiplies them by consume(memory, place, consumer).
template <class Tile, class Produce, class Consume>
__device__ inline void share_ring(Produce&& produce, Consume&& consume) {
  auto& memory = shared<typename Tile::Memory>();
  open_ring<Tile>(memory);
  RingPlace<Tile::kStages> place;
  const int group = thread_index() / Tile::kGroup;
  if (group == 0) {
    registers_down<Tile::kProducerRegisters>();
    if (thread_index() == 0) produce(memory, place);
    sync_warp();  // close_ring's barrier takes whole warps
  } else {
    registers_up<Tile::kConsumerRegisters>();
    consume(memory, place, group - 1);
  }
  close_ring<Tile>();
}
#endif  // SP_WGMMA

}  // namespace surprisal::cuda::gemm
