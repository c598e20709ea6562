// What kernels are written in: a thin layer over CUDA with two back ends. cuda/ptx.h is the real
// one; cuda/emulator/device.h runs the same kernel source on the CPU, one fiber a thread, with
// checked memory and hostile schedules. A kernel includes this file only, names its blocks and
// threads through these functions, takes shared memory from `shared<T>()`, and touches memory that
// other threads can see through `load` and `store`, which is what the emulator checks.
// Blocks and grids are one-dimensional.
#pragma once
#include <cstdint>
#include <type_traits>

#include "core/dtype.h"
#include "core/portable.h"
#include "core/view.h"
#include "cuda/fault.h"

namespace surprisal::cuda {

constexpr int kWarp = 32;

// N neighbouring elements, moved as one access where they make 4, 8 or 16 bytes.
template <class T, int N>
struct alignas(sizeof(T) * N > 16 ? 16 : sizeof(T) * N) Pack {
  T at[N];
};
// As many elements as one 16-byte access moves.
template <class T>
constexpr int kPack = 16 / static_cast<int>(sizeof(T));

}  // namespace surprisal::cuda

#if defined(SURPRISAL_EMULATOR)
#include "cuda/emulator/device.h"
#else
#include "cuda/ptx.h"
#endif

namespace surprisal::cuda {

// Records a bad value; rare, so a lock will do. Never returns the thread early: the kernel decides.
__device__ inline void report_fault(const FaultSite& site, int64_t row, int64_t value, int64_t a,
                                    int64_t b) {
  lock_acquire(&site.slot->lock);
  Fault* f = site.slot;
  const bool first = f->raise == 0 || site.sequence < f->sequence ||
                     (site.sequence == f->sequence && row < f->row);
  if (first) {
    f->sequence = site.sequence;
    f->row = row;
    f->value = value;
    f->a = a;
    f->b = b;
    f->raise = site.raise;
  }
  lock_release(&site.slot->lock);
}

// Reductions over a warp: every lane gets the same bits, because x+y and y+x are the same.
template <class T>
__device__ inline T warp_sum(T x) {
#pragma unroll
  for (int m = kWarp / 2; m > 0; m /= 2) x += shuffle_xor(x, m);
  return x;
}
template <class T>
__device__ inline T warp_max(T x) {
#pragma unroll
  for (int m = kWarp / 2; m > 0; m /= 2) {
    const T y = shuffle_xor(x, m);
    x = y > x || y != y ? y : x;
  }
  return x;
}

}  // namespace surprisal::cuda
