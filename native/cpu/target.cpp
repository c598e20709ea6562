#include "cpu/target.h"

#include <cstdlib>
#include <string>

#include "core/check.h"

#if defined(__unix__)
#include <unistd.h>
#endif

namespace surprisal {
namespace {

struct Named {
  CpuTarget target;
  const char* name;
};
// The one that is taken by itself is the last that the machine has.
constexpr Named kTargets[] = {{CpuTarget::base, "base"},
                              {CpuTarget::avx512, "avx512"},
                              {CpuTarget::avx2, "avx2"},
                              {CpuTarget::neon, "neon"}};

bool has(CpuTarget target) {
#if defined(SURPRISAL_HAS_AVX)
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                        __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2");
  if (target == CpuTarget::avx2) return has_avx2;
  if (target == CpuTarget::avx512) {
    return has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  }
#elif defined(SURPRISAL_HAS_NEON)
  if (target == CpuTarget::neon) return true;
#endif
  return target == CpuTarget::base;
}

CpuTarget chosen() {
  const char* forced = std::getenv("SURPRISAL_CPU");
  const std::string name = forced ? forced : "";
  CpuTarget best = CpuTarget::base;
  for (const Named& known : kTargets) {
    if (!has(known.target)) continue;
    if (name == known.name) return known.target;
    best = known.target;
  }
  if (name.empty()) return best;
  throw Error(Code::invalid_value, std::string("SURPRISAL_CPU: expected one of '") +
                                       cpu_targets_available() + "', got '" + name + "'");
}

}  // namespace

CpuTarget cpu_target() {
  static const CpuTarget target = chosen();
  return target;
}

const char* cpu_target_name() {
  for (const Named& known : kTargets)
    if (known.target == cpu_target()) return known.name;
  return "";
}

const char* cpu_targets_available() {
  static const std::string names = [] {
    std::string all;
    for (const Named& known : kTargets)
      if (has(known.target)) all += (all.empty() ? "" : " ") + std::string(known.name);
    return all;
  }();
  return names.c_str();
}

int64_t last_level_cache_bytes() {
#if defined(_SC_LEVEL3_CACHE_SIZE)
  static const int64_t bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  if (bytes > 0) return bytes;
#endif
  return int64_t{32} << 20;
}

}  // namespace surprisal
