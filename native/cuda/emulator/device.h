// The emulator's back end of cuda/device.h: the intrinsics of cuda/ptx.h, which documents them, on
// the machine of machine.h, with checked memory. Included by cuda/device.h only.
#pragma once
#include <cmath>
#include <cstring>

#include "cuda/emulator/access.h"
#include "cuda/emulator/matrix.h"
#include "cuda/emulator/tensor.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __grid_constant__
#define __launch_bounds__(...)

// All that sm_90a has; on a machine of arch 80 the calls are errors.
#define SP_CLUSTERS 1
#define SP_WGMMA 1

namespace surprisal::cuda {

// --- place ---------------------------------------------------------------------------------------
SP_EMULATED int thread_index() { return emulator::current->index; }
inline int block_size() { return emulator::launch_of_current().shape.threads; }
SP_EMULATED int64_t block_index() { return emulator::current->block->index; }
inline int64_t grid_size() { return emulator::launch_of_current().shape.blocks; }
SP_EMULATED int lane_index() { return emulator::current->index & (kWarp - 1); }
SP_EMULATED int warp_index() { return emulator::current->index / kWarp; }

template <class T>
inline T& shared(SP_SITE) {
  const emulator::Window& window = emulator::current->block->shared;
  if (window.bytes() > 0 && static_cast<int64_t>(sizeof(T)) > window.bytes()) {
    emulator::stop("the launch gives " + std::to_string(window.bytes()) +
                       " bytes of shared memory, the kernel uses " + std::to_string(sizeof(T)),
                   site);
  }
  return *reinterpret_cast<T*>(window.data());
}

// --- barriers ------------------------------------------------------------------------------------
inline void sync_threads(SP_SITE) { emulator::sync_block(site); }
inline void sync_warp(SP_SITE) { emulator::sync_lanes(site); }
inline void sync_group(int id, int threads, SP_SITE) { emulator::sync_named(id, threads, site); }
inline void fence_device() { emulator::publish(block_index()); }

// --- lanes ---------------------------------------------------------------------------------------
namespace emulator {
// Every lane gives x, and gets that of the lane that `from` names; its own if there is none.
template <class T>
inline T shuffle_from(const char* kind, T x, int from, Site site) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "4 or 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &x, sizeof x);
  const uint64_t* lanes = exchange(kind, bits, site);
  bits = lanes[from >= 0 && from < kWarp ? from : lane_index()];
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
}  // namespace emulator
template <class T>
inline T shuffle_xor(T x, int mask, SP_SITE) {
  return emulator::shuffle_from("shuffle_xor", x, lane_index() ^ mask, site);
}
template <class T>
inline T shuffle(T x, int lane, SP_SITE) {
  return emulator::shuffle_from("shuffle", x, lane & (kWarp - 1), site);
}
template <class T>
inline T shuffle_down(T x, int delta, SP_SITE) {
  return emulator::shuffle_from("shuffle_down", x, lane_index() + delta, site);
}
template <class T>
inline T shuffle_up(T x, int delta, SP_SITE) {
  return emulator::shuffle_from("shuffle_up", x, lane_index() - delta, site);
}
inline uint32_t ballot(bool x, SP_SITE) {
  const uint64_t* lanes = emulator::exchange("ballot", x, site);
  uint32_t bits = 0;
  for (int i = 0; i < kWarp; i++) bits |= static_cast<uint32_t>(lanes[i]) << i;
  return bits;
}
inline bool any_lane(bool x, SP_SITE) { return ballot(x, site) != 0; }

// --- memory --------------------------------------------------------------------------------------
template <class T>
SP_EMULATED T load(const T* p, SP_SITE) {
  emulator::check_read<sizeof(T), alignof(T)>(p, site);
  return *p;
}
template <class T>
SP_EMULATED void store(T* p, const T& x, SP_SITE) {
  emulator::check_write<sizeof(T), alignof(T)>(p, site);
  *p = x;
}
template <class T>
SP_EMULATED T load_once(const T* p, SP_SITE) {
  return load(p, site);
}
template <class T>
SP_EMULATED void store_once(T* p, const T& x, SP_SITE) {
  store(p, x, site);
}

// --- atomics -------------------------------------------------------------------------------------
inline uint32_t atomic_add(uint32_t* p, uint32_t x, SP_SITE) {
  return __atomic_fetch_add(emulator::check_atomic(p, site), x, __ATOMIC_SEQ_CST);
}
inline uint64_t atomic_add(uint64_t* p, uint64_t x, SP_SITE) {
  return __atomic_fetch_add(emulator::check_atomic(p, site), x, __ATOMIC_SEQ_CST);
}
inline uint64_t atomic_min(uint64_t* p, uint64_t x, SP_SITE) {
  uint64_t old = __atomic_load_n(emulator::check_atomic(p, site), __ATOMIC_SEQ_CST);
  while (x < old &&
         !__atomic_compare_exchange_n(p, &old, x, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
  }
  return old;
}
inline uint32_t atomic_or(uint32_t* p, uint32_t x, SP_SITE) {
  return __atomic_fetch_or(emulator::check_atomic(p, site), x, __ATOMIC_SEQ_CST);
}
// Locks may lie in memory of the host, as those of fault records do.
inline void lock_acquire(uint32_t* lock, SP_SITE) {
  uint32_t open = 0;
  while (!__atomic_compare_exchange_n(lock, &open, 1u, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    open = 0;
    emulator::yield("lock_acquire", site);
  }
  if (emulator::watching) {
    learn(emulator::current->actor.seen, emulator::kOfDevice, emulator::advance());
  }
}
inline void lock_release(uint32_t* lock) {
  fence_device();
  __atomic_store_n(lock, 0u, __ATOMIC_SEQ_CST);
}
inline void wait_count(uint32_t* p, uint32_t target, SP_SITE) {
  if (!emulator::launch_of_current().shape.together)
    emulator::stop("wait_count in a launch whose blocks are not together", site);
  emulator::check_atomic(p, site);
  while (static_cast<int32_t>(__atomic_load_n(p, __ATOMIC_SEQ_CST) - target) < 0)
    emulator::yield("wait_count", site);
  if (emulator::watching) {
    learn(emulator::current->actor.seen, emulator::kOfDevice, emulator::advance());
  }
}

// --- arithmetic ----------------------------------------------------------------------------------
inline float exp2_fast(float x) {
  const float y = std::exp2(x);
  return std::fabs(y) < 0x1p-126f ? 0.0f : y;
}
inline float mul_exact(float a, float b) { return a * b; }
inline float add_exact(float a, float b) { return a + b; }

// --- clusters ------------------------------------------------------------------------------------
inline int cluster_rank(SP_SITE) {
  emulator::require_clusters(site);
  return emulator::current->block->rank;
}
inline int cluster_size(SP_SITE) {
  emulator::require_clusters(site);
  return emulator::launch_of_current().shape.cluster;
}
inline void sync_cluster(SP_SITE) { emulator::sync_cluster_blocks(site); }
template <class T>
inline T load_from_block(const T* p, int rank, SP_SITE) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "4 or 8 bytes");
  return load(static_cast<const T*>(emulator::in_block(p, rank, site)), site);
}

// --- bulk copies and their barriers --------------------------------------------------------------
inline uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(static_cast<const uint8_t*>(p) -
                               emulator::current->block->shared.data());
}
using Barrier = uint64_t;
inline void barrier_init(Barrier* b, int arrivals, SP_SITE) {
  emulator::mbarrier_init(b, arrivals, site);
}
inline void barrier_init_fence() { emulator::mbarrier_fence(); }
inline void barrier_arrive(Barrier* b, SP_SITE) { emulator::mbarrier_arrive(b, -1, site); }
inline void barrier_arrive_at(Barrier* b, int rank, SP_SITE) {
  emulator::mbarrier_arrive(b, rank, site);
}
inline void barrier_expect(Barrier* b, int bytes, SP_SITE) {
  emulator::mbarrier_expect(b, bytes, site);
}
inline void barrier_wait(Barrier* b, uint32_t parity, SP_SITE) {
  emulator::mbarrier_wait(b, parity, site);
}
inline void bulk_load(void* to, const void* from, int bytes, Barrier* b, SP_SITE) {
  emulator::start_bulk_load(to, from, bytes, b, site);
}
inline void bulk_store(void* to, const void* from, int bytes, SP_SITE) {
  emulator::start_bulk_store(to, from, bytes, site);
}
inline void bulk_commit() { emulator::commit_copies(emulator::Ring::bulk); }
template <int N>
inline void bulk_wait_read(SP_SITE) {
  emulator::wait_copies(emulator::Ring::bulk, N, true, site);
}
template <int N>
inline void bulk_wait(SP_SITE) {
  emulator::wait_copies(emulator::Ring::bulk, N, false, site);
}
inline void fence_async() { emulator::fence_for_engine(); }

// --- tensor cores --------------------------------------------------------------------------------
inline void copy_async16(void* to, const void* from, bool valid, SP_SITE) {
  emulator::start_copy16(to, from, valid, site);
}
inline void copy_async_commit() { emulator::commit_copies(emulator::Ring::copy16); }
template <int N>
inline void copy_async_wait(SP_SITE) {
  emulator::wait_copies(emulator::Ring::copy16, N, false, site);
}
inline void load_tiles(uint32_t (&r)[4], const void* row, SP_SITE) {
  emulator::load_matrix(r, row, false, site);
}
inline void load_tiles_transposed(uint32_t (&r)[4], const void* row, SP_SITE) {
  emulator::load_matrix(r, row, true, site);
}
inline void store_tiles(void* row, const uint32_t (&r)[4], SP_SITE) {
  emulator::store_matrix(row, r, site);
}
template <class T>
inline void multiply_tiles(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], SP_SITE) {
  static_assert(std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>, "16-bit floats");
  emulator::multiply_16x8x16(d, a, b, std::is_same_v<T, BFloat16>, site);
}

// --- boxes of matrices, warpgroups (cuda/ptx_sm90.h) ---------------------------------------------
inline void box_load(void* to, const TensorMap* map, int row, int column, Barrier* b, SP_SITE) {
  emulator::start_box_load(to, map, row, column, b, 0, site);
}
inline void box_load_all(void* to, const TensorMap* map, int row, int column, Barrier* b,
                         uint32_t blocks, SP_SITE) {
  emulator::start_box_load(to, map, row, column, b, blocks, site);
}
inline void box_store(const TensorMap* map, int row, int column, const void* from, SP_SITE) {
  emulator::start_box_store(map, row, column, from, site);
}
template <int N>
inline void registers_up() {}
template <int N>
inline void registers_down() {}
inline uint64_t operand(const void* p, int next = 16) {
  constexpr uint64_t kLines = 8 * 128, kSwizzle128 = uint64_t{1} << 62;
  return (shared_address(p) & 0x3ffff) >> 4 | static_cast<uint64_t>(next >> 4) << 16 |
         (kLines >> 4) << 32 | kSwizzle128;
}
inline void multiply_fence() { emulator::multiply_fence_now(); }
inline void multiply_commit() { emulator::commit_multiplies(); }
template <int N>
inline void multiply_wait(SP_SITE) {
  emulator::wait_multiplies(N, site);
}
template <int K>
inline void pin(float (&)[K]) {}
template <class T, int N, bool kTransposedA = false, bool kTransposedB = false>
inline void multiply(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate, SP_SITE) {
  static_assert(N == 64 || N == 128 || N == 256, "64, 128 or 256 columns");
  static_assert(std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>, "16-bit floats");
  emulator::start_multiply(
      d, {a, b, N, std::is_same_v<T, BFloat16>, kTransposedA, kTransposedB, accumulate}, site);
}

}  // namespace surprisal::cuda
