// Which instruction set the CPU kernels run on: the best one the machine has, or the one that
// SURPRISAL_CPU names (base, avx2) when the process starts.
#pragma once
#include <cstdint>

namespace surprisal {

enum class CpuTarget { base, avx2 };

CpuTarget cpu_target();
const char* cpu_target_name();
// Names of the targets this machine can run, best last, separated by spaces.
const char* cpu_targets_available();
// Where results larger than this go, streaming stores pay. A constant where it is not known.
int64_t last_level_cache_bytes();

}  // namespace surprisal

// Calls the compiled copy of `function` that the machine can run.
#if defined(__x86_64__)
#define SURPRISAL_DISPATCH(function, ...)                    \
  (::surprisal::cpu_target() == ::surprisal::CpuTarget::avx2 \
       ? ::surprisal::avx2::function(__VA_ARGS__)            \
       : ::surprisal::base::function(__VA_ARGS__))
#else
#define SURPRISAL_DISPATCH(function, ...) ::surprisal::base::function(__VA_ARGS__)
#endif
