// The CUDA back end of cuda/device.h. PTX names are those of the PTX ISA manual.
#pragma once
#if !defined(__CUDACC__)
#error "cuda/ptx.h is for nvcc; the emulator has cuda/emulator/device.h"
#endif
#include <cuda_runtime.h>

// Kernels are templates over dtypes and shapes of work; a spill is an error of the build.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define SP_CLUSTERS 1
#endif
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define SP_WGMMA 1
#endif

namespace surprisal::cuda {

// --- place ---------------------------------------------------------------------------------------
__device__ inline int thread_index() { return static_cast<int>(threadIdx.x); }
__device__ inline int block_size() { return static_cast<int>(blockDim.x); }
__device__ inline int64_t block_index() { return blockIdx.x; }
__device__ inline int64_t grid_size() { return gridDim.x; }
__device__ inline int lane_index() { return static_cast<int>(threadIdx.x) & (kWarp - 1); }
__device__ inline int warp_index() { return static_cast<int>(threadIdx.x) / kWarp; }

// Dynamic shared memory of the block as a T; its size is that of the launch.
template <class T>
__device__ inline T& shared() {
  extern __shared__ __align__(1024) unsigned char surprisal_shared[];
  return *reinterpret_cast<T*>(surprisal_shared);
}

// --- barriers ------------------------------------------------------------------------------------
__device__ inline void sync_threads() { __syncthreads(); }
__device__ inline void sync_warp() { __syncwarp(); }
// Threads of barrier `id` (1..15) only; `threads` is a multiple of 32.
__device__ inline void sync_group(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ inline void fence_device() { __threadfence(); }

// --- lanes ---------------------------------------------------------------------------------------
// All 32 lanes must take part. T has 4 or 8 bytes.
template <class T>
__device__ inline T shuffle_xor(T x, int mask) {
  return __shfl_xor_sync(~0u, x, mask);
}
template <class T>
__device__ inline T shuffle(T x, int lane) {
  return __shfl_sync(~0u, x, lane);
}
template <class T>
__device__ inline T shuffle_down(T x, int delta) {
  return __shfl_down_sync(~0u, x, delta);
}
template <class T>
__device__ inline T shuffle_up(T x, int delta) {
  return __shfl_up_sync(~0u, x, delta);
}
__device__ inline uint32_t ballot(bool x) { return __ballot_sync(~0u, x); }
__device__ inline bool any_lane(bool x) { return __any_sync(~0u, x) != 0; }

// --- memory --------------------------------------------------------------------------------------
template <class T>
__device__ inline T load(const T* p) {
  if constexpr (sizeof(T) == 16 && alignof(T) == 16) {
    const uint4 bits = *reinterpret_cast<const uint4*>(p);
    return *reinterpret_cast<const T*>(&bits);
  } else if constexpr (sizeof(T) == 8 && alignof(T) == 8) {
    const uint2 bits = *reinterpret_cast<const uint2*>(p);
    return *reinterpret_cast<const T*>(&bits);
  } else if constexpr (sizeof(T) == 4 && alignof(T) == 4) {
    const uint32_t bits = *reinterpret_cast<const uint32_t*>(p);
    return *reinterpret_cast<const T*>(&bits);
  } else {
    return *p;
  }
}
template <class T>
__device__ inline void store(T* p, const T& x) {
  if constexpr (sizeof(T) == 16 && alignof(T) == 16) {
    *reinterpret_cast<uint4*>(p) = *reinterpret_cast<const uint4*>(&x);
  } else if constexpr (sizeof(T) == 8 && alignof(T) == 8) {
    *reinterpret_cast<uint2*>(p) = *reinterpret_cast<const uint2*>(&x);
  } else if constexpr (sizeof(T) == 4 && alignof(T) == 4) {
    *reinterpret_cast<uint32_t*>(p) = *reinterpret_cast<const uint32_t*>(&x);
  } else {
    *p = x;
  }
}
// Global memory that is read once: not kept in L1. Only where no thread of the launch writes it.
template <class T>
__device__ inline T load_once(const T* p) {
  if constexpr (sizeof(T) == 16 && alignof(T) == 16) {
    uint4 x;
    asm volatile("ld.global.L1::no_allocate.v4.b32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "l"(p));
    return *reinterpret_cast<const T*>(&x);
  } else {
    return load(p);
  }
}
// Global memory that is not read again soon.
template <class T>
__device__ inline void store_once(T* p, const T& x) {
  if constexpr (sizeof(T) == 16 && alignof(T) == 16) {
    __stcs(reinterpret_cast<uint4*>(p), *reinterpret_cast<const uint4*>(&x));
  } else {
    store(p, x);
  }
}

// --- atomics -------------------------------------------------------------------------------------
__device__ inline uint32_t atomic_add(uint32_t* p, uint32_t x) { return atomicAdd(p, x); }
__device__ inline uint64_t atomic_add(uint64_t* p, uint64_t x) {
  return atomicAdd(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(x));
}
__device__ inline uint64_t atomic_min(uint64_t* p, uint64_t x) {
  return atomicMin(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(x));
}
__device__ inline uint32_t atomic_or(uint32_t* p, uint32_t x) { return atomicOr(p, x); }
__device__ inline void lock_acquire(uint32_t* lock) {
  while (atomicCAS(lock, 0u, 1u) != 0u) __nanosleep(64);
  __threadfence();
}
__device__ inline void lock_release(uint32_t* lock) {
  __threadfence();
  atomicExch(lock, 0u);
}
// Waits until other blocks have counted `p` up to `target` by atomic_add, modulo 2^32, and sees
// what they did before. They run at the same time only in a launch of blocks that are together.
__device__ inline void wait_count(uint32_t* p, uint32_t target) {
  while (static_cast<int32_t>(*static_cast<volatile uint32_t*>(p) - target) < 0) __nanosleep(20);
  __threadfence();
}

// --- arithmetic ----------------------------------------------------------------------------------
__device__ inline float exp2_fast(float x) {  // 2 ulp, flushes subnormal results
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// One rounding; never contracted with what stands around it, so that host and device agree.
__device__ inline float mul_exact(float a, float b) { return __fmul_rn(a, b); }
__device__ inline float add_exact(float a, float b) { return __fadd_rn(a, b); }

using Barrier = uint64_t;  // an mbarrier in shared memory (sm_90)

// --- clusters (sm_90) ----------------------------------------------------------------------------
#if defined(SP_CLUSTERS)
__device__ inline int cluster_rank() {
  uint32_t r;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
  return static_cast<int>(r);
}
__device__ inline int cluster_size() {
  uint32_t r;
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(r));
  return static_cast<int>(r);
}
__device__ inline void sync_cluster() {
  asm volatile(
      "barrier.cluster.arrive.release.aligned;\n"
      "barrier.cluster.wait.acquire.aligned;" ::
          : "memory");
}
// Reads a 4- or 8-byte value of `p`, which lies in this block's shared memory, in that of another
// block of the cluster.
template <class T>
__device__ inline T load_from_block(const T* p, int rank) {
  const uint32_t own = static_cast<uint32_t>(__cvta_generic_to_shared(p));
  uint32_t other;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(other) : "r"(own), "r"(rank));
  T x;
  if constexpr (sizeof(T) == 4) {
    uint32_t bits;
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(bits) : "r"(other) : "memory");
    x = *reinterpret_cast<const T*>(&bits);
  } else {
    static_assert(sizeof(T) == 8, "4 or 8 bytes");
    uint64_t bits;
    asm volatile("ld.shared::cluster.u64 %0, [%1];" : "=l"(bits) : "r"(other) : "memory");
    x = *reinterpret_cast<const T*>(&bits);
  }
  return x;
}

// --- bulk copies and their barriers (sm_90) ------------------------------------------------------
__device__ inline uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
__device__ inline void barrier_init(Barrier* b, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals)
               : "memory");
}
// Makes initialised barriers visible to the copy engine and to the cluster.
__device__ inline void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ inline void barrier_arrive(Barrier* b) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
// On the barrier at the same place in another block of the cluster.
__device__ inline void barrier_arrive_at(Barrier* b, int rank) {
  asm volatile(
      "{\n.reg .b32 other;\n"
      "mapa.shared::cluster.u32 other, %0, %1;\n"
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [other];\n}" ::"r"(shared_address(b)),
      "r"(rank)
      : "memory");
}
__device__ inline void barrier_expect(Barrier* b, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)),
               "r"(bytes)
               : "memory");
}
__device__ inline void barrier_wait(Barrier* b, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred p;\n"
      "WAIT: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
      "@p bra.uni DONE;\nbra.uni WAIT;\nDONE:\n}" ::"r"(shared_address(b)),
      "r"(parity)
      : "memory");
}
// Global to shared, counted by `b`. Addresses and size are multiples of 16 bytes.
__device__ inline void bulk_load(void* to, const void* from, int bytes, Barrier* b) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(b))
      : "memory");
}
// Shared to global. Before it: writers fence_async(), then a barrier. After: commit, then wait.
__device__ inline void bulk_store(void* to, const void* from, int bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to),
               "r"(shared_address(from)), "r"(bytes)
               : "memory");
}
__device__ inline void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// All but the latest N groups have read their shared memory / are complete.
template <int N>
__device__ inline void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
}
template <int N>
__device__ inline void bulk_wait() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory");
}
// Orders this thread's ordinary shared-memory accesses before later ones of the copy engine.
__device__ inline void fence_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
#endif  // SP_CLUSTERS

// --- tensor cores (sm_80) ------------------------------------------------------------------------
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
// 16 bytes, global to shared, in the background; zeros where `valid` is false (nothing is read).
__device__ inline void copy_async16(void* to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ inline void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N>
__device__ inline void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
#endif
// Four 8x8 tiles of 16-bit elements; lane l gives the address of row l % 8 of tile l / 8.
__device__ inline void load_tiles(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
}
__device__ inline void load_tiles_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
}
#if defined(SP_CLUSTERS)
// The other way: what load_tiles would give back. sm_90.
__device__ inline void store_tiles(void* row, const uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(row))),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}
#endif
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
// d += a b: a 16x16 by rows, b 16x8 by columns, d 16x8 float32. T is BFloat16 or Float16.
template <class T>
__device__ inline void multiply_tiles(float (&d)[4], const uint32_t (&a)[4],
                                      const uint32_t (&b)[2]) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    static_assert(std::is_same_v<T, Float16>, "16-bit floats");
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
}
#endif

}  // namespace surprisal::cuda

#include "cuda/ptx_sm75.h"
#include "cuda/ptx_sm90.h"
