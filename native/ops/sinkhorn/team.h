// The blocks that solve one term together, and their sums. A sum over points is taken in parts,
// each by one warp (4 rows of a pass, or 32 points), and the parts by 256 slots in a fixed tree:
// the same bits whatever the number of blocks and threads. Each block adds up all parts for itself.
#pragma once
#include "ops/sinkhorn/device.h"

namespace surprisal::sinkhorn {

struct Part {
  double error = 0, mass = 0, most = 0;
};

static_assert(sizeof(Part) == kPartBytes, "plan.h");

__device__ inline void add(Part& into, const Part& from) {
  into.error += from.error;
  into.mass += from.mass;
  into.most = from.most > into.most ? from.most : into.most;
}

// Over `Lanes` neighbouring lanes.
template <int Lanes>
__device__ inline Part lanes_total(Part part) {
#pragma unroll
  for (int mask = Lanes / 2; mask > 0; mask /= 2) {
    add(part, {cuda::shuffle_xor(part.error, mask), cuda::shuffle_xor(part.mass, mask),
               cuda::shuffle_xor(part.most, mask)});
  }
  return part;
}

constexpr int kSegments = kSlots / cuda::kWarp;

struct Team {
  int32_t rank = 0, size = 1;
  uint32_t* counter = nullptr;
  Part* parts = nullptr;  // two sets of `stride`: while some still read one, others write
  int32_t stride = 0;
  Part* segments = nullptr;  // (kSegments) in shared memory
  uint32_t target = 0;
  int32_t turn = 0;

  // What any thread of the team wrote before, all see after.
  __device__ void meet() {
    cuda::sync_threads();
    if (size == 1) return;
    target += static_cast<uint32_t>(size);
    if (cuda::thread_index() == 0) {
      cuda::fence_device();
      cuda::atomic_add(counter, 1u);
      cuda::wait_count(counter, target);
    }
    cuda::sync_threads();  // thread 0 has seen the others come
  }
  __device__ void put(int64_t i, const Part& part) { cuda::store(set() + i, part); }
  // Of parts [0, count), which the team has put; meets.
  __device__ Part total(int64_t count) {
    meet();
    const int warps = cuda::block_size() / cuda::kWarp;
    for (int s = cuda::warp_index(); s < kSegments && s * cuda::kWarp < count; s += warps) {
      Part part;
      for (int64_t i = s * cuda::kWarp + cuda::lane_index(); i < count; i += kSlots)
        add(part, cuda::load(set() + i));
      part = lanes_total<cuda::kWarp>(part);
      if (cuda::lane_index() == 0) cuda::store(segments + s, part);
    }
    cuda::sync_threads();  // the segments' sums are there
    Part sum;
    for (int s = 0; s < kSegments && s * cuda::kWarp < count; ++s)
      add(sum, cuda::load(segments + s));
    turn ^= 1;
    return sum;
  }

 private:
  __device__ Part* set() const { return turn ? parts + stride : parts; }
};

}  // namespace surprisal::sinkhorn
