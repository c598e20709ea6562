// Compiles one body header once per instruction set. Before including this file a source defines
// SURPRISAL_BODY as the header to compile; the body's code goes into `surprisal::<target>`, sees
// that target's vectors (cpu/simd.h) and must include no system header itself, since whatever is
// included here is compiled for the target and a shared inline function would then be, too.
// Sources are compiled for the baseline; only target pragmas raise it. `SURPRISAL_CPU` forces a
// path at run time (cpu/target.h). AVX-512 is compiled for sources that define SURPRISAL_AVX512,
// where it gains what its compilation costs; elsewhere its machines take AVX2.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/check.h"
#include "core/dtype.h"
#include "core/parallel.h"
#include "core/scratch.h"
#include "core/view.h"
#include "cpu/target.h"
#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 warns of the operands that its own AVX-512 functions leave undefined.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef SURPRISAL_BODY
#error "define SURPRISAL_BODY before including cpu/foreach_target.h"
#endif

#define SURPRISAL_TARGET base
#define SURPRISAL_TARGET_BYTES SURPRISAL_BASE_BYTES
#define SURPRISAL_TARGET_VECTORS "cpu/simd_base.h"
namespace surprisal {
namespace base {
#include "cpu/simd.h"
#include SURPRISAL_BODY
}  // namespace base
}  // namespace surprisal
#undef SURPRISAL_TARGET
#undef SURPRISAL_TARGET_BYTES
#undef SURPRISAL_TARGET_VECTORS

#define SURPRISAL_TARGET_FMA 1

#ifdef SURPRISAL_HAS_AVX
#define SURPRISAL_TARGET avx2
#define SURPRISAL_TARGET_AVX2 1
#define SURPRISAL_TARGET_BYTES 32
#define SURPRISAL_TARGET_VECTORS "cpu/simd_avx2.h"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")
#endif
namespace surprisal {
namespace avx2 {
#include "cpu/simd.h"
#include SURPRISAL_BODY
}  // namespace avx2
}  // namespace surprisal
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef SURPRISAL_TARGET
#undef SURPRISAL_TARGET_AVX2
#undef SURPRISAL_TARGET_BYTES
#undef SURPRISAL_TARGET_VECTORS
#endif

#if defined(SURPRISAL_HAS_AVX) && defined(SURPRISAL_AVX512)
#define SURPRISAL_TARGET avx512
#define SURPRISAL_TARGET_AVX512 1
#define SURPRISAL_TARGET_BYTES 64
#define SURPRISAL_TARGET_VECTORS "cpu/simd_avx512.h"
#if defined(__clang__)
#pragma clang attribute push(                                                         \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2")
#endif
namespace surprisal {
namespace avx512 {
#include "cpu/simd.h"
#include SURPRISAL_BODY
}  // namespace avx512
}  // namespace surprisal
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef SURPRISAL_TARGET
#undef SURPRISAL_TARGET_AVX512
#undef SURPRISAL_TARGET_BYTES
#undef SURPRISAL_TARGET_VECTORS
#endif

#ifdef SURPRISAL_HAS_NEON
#define SURPRISAL_TARGET neon
#define SURPRISAL_TARGET_BYTES 16
#define SURPRISAL_TARGET_VECTORS "cpu/simd_neon.h"
namespace surprisal {
namespace neon {
#include "cpu/simd.h"
#include SURPRISAL_BODY
}  // namespace neon
}  // namespace surprisal
#undef SURPRISAL_TARGET
#undef SURPRISAL_TARGET_BYTES
#undef SURPRISAL_TARGET_VECTORS
#endif

#undef SURPRISAL_TARGET_FMA
#undef SURPRISAL_BODY

// Calls the compiled copy of `function` that the machine can run.
#ifdef SURPRISAL_HAS_AVX
#ifdef SURPRISAL_AVX512
#define SURPRISAL_WIDEST avx512
#else
#define SURPRISAL_WIDEST avx2
#endif
#define SURPRISAL_DISPATCH(function, ...)                      \
  (::surprisal::cpu_target() == ::surprisal::CpuTarget::avx2   \
       ? ::surprisal::avx2::function(__VA_ARGS__)              \
   : ::surprisal::cpu_target() == ::surprisal::CpuTarget::base \
       ? ::surprisal::base::function(__VA_ARGS__)              \
       : ::surprisal::SURPRISAL_WIDEST::function(__VA_ARGS__))
#elif defined(SURPRISAL_HAS_NEON)
#define SURPRISAL_DISPATCH(function, ...)                    \
  (::surprisal::cpu_target() == ::surprisal::CpuTarget::neon \
       ? ::surprisal::neon::function(__VA_ARGS__)            \
       : ::surprisal::base::function(__VA_ARGS__))
#else
#define SURPRISAL_DISPATCH(function, ...) ::surprisal::base::function(__VA_ARGS__)
#endif
