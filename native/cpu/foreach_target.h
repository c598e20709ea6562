// Compiles one body header once per instruction set. Before including this file a source defines
// SURPRISAL_BODY as the header to compile; the body's code goes into `surprisal::<target>`, sees
// that target's vectors (cpu/simd.h) and must include no system header itself, since whatever is
// included here is compiled for the target and a shared inline function would then be, too.
// Sources are compiled for the baseline; only target pragmas raise it. `SURPRISAL_CPU` forces a
// path at run time (cpu/target.h).
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
#include <immintrin.h>
#endif

#ifndef SURPRISAL_BODY
#error "define SURPRISAL_BODY before including cpu/foreach_target.h"
#endif

#define SURPRISAL_TARGET base
#define SURPRISAL_TARGET_BYTES 16
namespace surprisal {
namespace base {
#include "cpu/simd.h"
#include SURPRISAL_BODY
}  // namespace base
}  // namespace surprisal
#undef SURPRISAL_TARGET
#undef SURPRISAL_TARGET_BYTES

#if defined(__x86_64__)
#define SURPRISAL_TARGET avx2
#define SURPRISAL_TARGET_AVX2 1
#define SURPRISAL_TARGET_BYTES 32
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
#endif

#undef SURPRISAL_BODY
