#include "cpu/target.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "core/check.h"

#if defined(__unix__)
#include <unistd.h>
#endif

namespace surprisal {
namespace {

bool has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2");
#else
  return false;
#endif
}

CpuTarget chosen() {
  const CpuTarget best = has_avx2() ? CpuTarget::avx2 : CpuTarget::base;
  const char* forced = std::getenv("SURPRISAL_CPU");
  if (!forced || !*forced) return best;
  if (!std::strcmp(forced, "base")) return CpuTarget::base;
  if (!std::strcmp(forced, "avx2") && has_avx2()) return CpuTarget::avx2;
  throw Error(Code::invalid_value, std::string("SURPRISAL_CPU: expected one of '") +
                                       cpu_targets_available() + "', got '" + forced + "'");
}

}  // namespace

CpuTarget cpu_target() {
  static const CpuTarget target = chosen();
  return target;
}
const char* cpu_target_name() { return cpu_target() == CpuTarget::avx2 ? "avx2" : "base"; }
const char* cpu_targets_available() { return has_avx2() ? "base avx2" : "base"; }

int64_t last_level_cache_bytes() {
#if defined(_SC_LEVEL3_CACHE_SIZE)
  static const int64_t bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  if (bytes > 0) return bytes;
#endif
  return int64_t{32} << 20;
}

}  // namespace surprisal
