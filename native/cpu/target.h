// Which instruction set the CPU kernels run on: the best one the machine has, or the one that
// SURPRISAL_CPU names (base; avx2, avx512; neon) when the process starts. avx512 is only taken
// where it is named: no machine has shown yet that it is right.
#pragma once
#include <cstdint>

// Tests of tails and widths build with 64: as many lanes as AVX-512's on any machine, and no path
// beside base.
#ifndef SURPRISAL_BASE_BYTES
#define SURPRISAL_BASE_BYTES 16
#endif
#if SURPRISAL_BASE_BYTES == 16 && defined(__x86_64__)
#define SURPRISAL_HAS_AVX 1
#elif SURPRISAL_BASE_BYTES == 16 && defined(__aarch64__)
#define SURPRISAL_HAS_NEON 1
#endif

namespace surprisal {

enum class CpuTarget { base, avx2, avx512, neon };

CpuTarget cpu_target();
const char* cpu_target_name();
// Names of the targets this machine can run, the one it takes by itself last, separated by spaces.
const char* cpu_targets_available();
// Where results larger than this go, streaming stores pay. A constant where it is not known.
int64_t last_level_cache_bytes();

}  // namespace surprisal
