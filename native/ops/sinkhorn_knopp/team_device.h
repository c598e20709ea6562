// Threads that have a matrix: lanes of a warp, a block, or blocks that run together. How they wait
// for each other, and what they agree on about the matrix.
#pragma once
#include "ops/sinkhorn_knopp/device.h"

namespace surprisal::sinkhorn_knopp {

class Team {
 public:
  // `size` threads of a block, in `blocks` blocks; counters (teams) begin at 0.
  __device__ Team(int size, int64_t blocks, uint32_t* counters)
      : size_(size),
        index_(cuda::thread_index() % size_),
        blocks_(static_cast<int>(blocks)),
        rank_(static_cast<int>(cuda::block_index() % blocks_)),
        slot_(cuda::block_index() / blocks_ * (cuda::block_size() / size_) +
              cuda::thread_index() / size_),
        counter_(counters + slot_) {}

  __device__ int index() const { return index_; }
  __device__ int size() const { return size_; }
  __device__ int rank() const { return rank_; }
  __device__ int blocks() const { return blocks_; }
  __device__ int64_t slot() const { return slot_; }
  // Of a thread among all of the team.
  __device__ int place() const { return rank_ * size_ + index_; }
  __device__ int threads() const { return blocks_ * size_; }

  // Of the threads of this block.
  __device__ void gather() {
    if (size_ <= cuda::kWarp) return cuda::sync_warp();
    cuda::sync_threads();
  }
  // What any thread of the team wrote before, all see after.
  __device__ void meet() {
    gather();
    if (blocks_ == 1) return;
    target_ += static_cast<uint32_t>(blocks_);
    if (cuda::thread_index() == 0) {
      cuda::fence_device();
      cuda::atomic_add(counter_, 1u);
      cuda::wait_count(counter_, target_);
    }
    cuda::sync_threads();  // thread 0 has seen the others come
  }

  // Of all threads' extents.
  template <class C>
  __device__ Extent<C> merged(Extent<C> e, C* between, C* memory) {
    const int lanes = size_ < cuda::kWarp ? size_ : cuda::kWarp;
    for (int mask = lanes / 2; mask > 0; mask /= 2) e.merge(from_lane(e, mask));
    if (size_ > cuda::kWarp) {
      if (cuda::lane_index() == 0) put(memory + 3 * cuda::warp_index(), e);
      cuda::sync_threads();  // every warp's is there
      e = Extent<C>();
      for (int i = 0; i < size_ / cuda::kWarp; ++i) e.merge(get<C>(memory + 3 * i));
    }
    if (blocks_ == 1) return e;
    C* all = between + slot_ * blocks_ * 3;
    if (index_ == 0) put(all + 3 * rank_, e);
    meet();
    for (int b = 0; b < blocks_; ++b) e.merge(get<C>(all + 3 * b));
    return e;
  }

 private:
  template <class C>
  __device__ static Extent<C> from_lane(const Extent<C>& e, int mask) {
    Extent<C> other;
    other.top = cuda::shuffle_xor(e.top, mask);
    other.low = cuda::shuffle_xor(e.low, mask);
    other.bad = cuda::shuffle_xor(e.bad, mask);
    return other;
  }
  template <class C>
  __device__ static void put(C* to, const Extent<C>& e) {
    cuda::store(to, e.top);
    cuda::store(to + 1, e.low);
    cuda::store(to + 2, e.bad);
  }
  template <class C>
  __device__ static Extent<C> get(const C* from) {
    Extent<C> e;
    e.top = cuda::load(from);
    e.low = cuda::load(from + 1);
    e.bad = cuda::load(from + 2);
    return e;
  }

  const int size_, index_, blocks_, rank_;
  const int64_t slot_;
  uint32_t* const counter_;
  uint32_t target_ = 0;
};

}  // namespace surprisal::sinkhorn_knopp
