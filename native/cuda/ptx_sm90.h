// PTX of sm_90 that cuda/ptx.h leaves out: tensor-map copies (TMA) and the products of warpgroups
// (wgmma). Included by cuda/ptx.h only.
#pragma once
#include "cuda/tensor_map.h"

namespace surprisal::cuda {

#if defined(SP_CLUSTERS)
// --- boxes of matrices (tensor_map.h) ------------------------------------------------------------
// Global to shared: the box whose first element is (row, column). `to` is 1024-byte aligned. `b`
// counts the bytes of the whole box, also where it hangs over the edge.
__device__ inline void box_load(void* to, const TensorMap* map, int row, int column, Barrier* b) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(to)),
      "l"(map), "r"(shared_address(b)), "r"(column), "r"(row)
      : "memory");
}
// The same into all blocks of the cluster whose bits are set, each at the same place and counted by
// its own barrier.
__device__ inline void box_load_all(void* to, const TensorMap* map, int row, int column, Barrier* b,
                                    uint32_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(to)),
      "l"(map), "r"(shared_address(b)), "r"(column), "r"(row), "h"(static_cast<uint16_t>(blocks))
      : "memory");
}
// Shared to global, in a bulk group: see bulk_store.
__device__ inline void box_store(const TensorMap* map, int row, int column, const void* from) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
      "r"(shared_address(from)), "r"(column), "r"(row)
      : "memory");
}
#endif  // SP_CLUSTERS

#if defined(SP_WGMMA)
// --- warpgroups: all 128 threads of one take part ------------------------------------------------
// Registers of each thread from here on, a multiple of 8: those that one warpgroup gives up, others
// can have.
template <int N>
__device__ inline void registers_up() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N>
__device__ inline void registers_down() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

// Where an operand lies, as box_load leaves it. By k: lines of 64 k; 16 k further are 32 bytes, 8
// rows further kLines. By m or n (`transposed`): lines of 64 m; 8 k further are kLines, 64 m
// further are `next` bytes.
__device__ inline uint64_t operand(const void* p, int next = 16) {
  constexpr uint64_t kLines = 8 * 128, kSwizzle128 = uint64_t{1} << 62;
  return (shared_address(p) & 0x3ffff) >> 4 | static_cast<uint64_t>(next >> 4) << 16 |
         (kLines >> 4) << 32 | kSwizzle128;
}
// Before the first product, and after each wait.
__device__ inline void multiply_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void multiply_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// All but the latest N groups are done: their sums may be read, their operands overwritten.
template <int N>
__device__ inline void multiply_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
// Keeps the compiler from moving accesses to sums across a wait.
template <int K>
__device__ inline void pin(float (&d)[K]) {
#pragma unroll
  for (int i = 0; i < K; i++) asm volatile("" : "+f"(d[i])::"memory");
}

#define SP_D8(i)                                                                              \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define SP_D32(i) SP_D8(i), SP_D8(i + 8), SP_D8(i + 16), SP_D8(i + 24)
#define SP_R0                                                              \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define SP_R32                                                                       \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define SP_R64                                                                       \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define SP_R96                                                                                   \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define SP_WGMMA_64(type)                                                          \
  asm volatile(                                                                    \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"                                 \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" SP_R0       \
      "}, %32, %33, p, 1, 1, %35, %36;\n}"                                         \
      : SP_D32(0)                                                                  \
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(int{kTransposedA}), \
        "n"(int{kTransposedB}))
#define SP_WGMMA_128(type)                                                                \
  asm volatile(                                                                           \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"                                        \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" SP_R0 ", " SP_R32 \
      "}, %64, %65, p, 1, 1, %67, %68;\n}"                                                \
      : SP_D32(0), SP_D32(32)                                                             \
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(int{kTransposedA}),        \
        "n"(int{kTransposedB}))
#define SP_WGMMA_256(type)                                                                \
  asm volatile(                                                                           \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"                                       \
      "wgmma.mma_async.sync.aligned.m64n256k16.f32." type "." type " {" SP_R0 ", " SP_R32 \
      ", " SP_R64 ", " SP_R96 "}, %128, %129, p, 1, 1, %131, %132;\n}"                    \
      : SP_D32(0), SP_D32(32), SP_D32(64), SP_D32(96)                                     \
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(int{kTransposedA}),        \
        "n"(int{kTransposedB}))

// d = a b, or with `accumulate` d += a b: a 64 x 16, b 16 x N, both in shared memory (operand()), d
// 64 x N: of thread t, warp w = t / 32 and lane l of the group, d[4 j + 2 h + e] is row
// 16 w + l / 4 + 8 h, column 8 j + l % 4 * 2 + e. In the background: commit, then wait.
template <class T, int N, bool kTransposedA = false, bool kTransposedB = false>
__device__ inline void multiply(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(N == 64 || N == 128 || N == 256, "64, 128 or 256 columns");
  static_assert(std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>, "16-bit floats");
  if constexpr (std::is_same_v<T, BFloat16>) {
    if constexpr (N == 64) SP_WGMMA_64("bf16");
    if constexpr (N == 128) SP_WGMMA_128("bf16");
    if constexpr (N == 256) SP_WGMMA_256("bf16");
  } else {
    if constexpr (N == 64) SP_WGMMA_64("f16");
    if constexpr (N == 128) SP_WGMMA_128("f16");
    if constexpr (N == 256) SP_WGMMA_256("f16");
  }
}
#endif  // SP_WGMMA

}  // namespace surprisal::cuda
