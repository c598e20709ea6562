#include "core/scratch.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "core/check.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace surprisal {
namespace {

constexpr size_t kKeepBytes = size_t{128} << 20;  // four default workspaces of the CPU
constexpr size_t kHugePage = size_t{2} << 20;

struct Cache {
  std::mutex mutex;
  std::map<size_t, std::vector<void*>> free;  // a size once seen allocates nothing again
  size_t live = 0, cached = 0, peak = 0;
};

Cache& cache() {
  static Cache* instance = new Cache;  // worker threads may outlive static destruction
  return *instance;
}

size_t rounded(size_t bytes) {
  const size_t step = bytes >= kHugePage ? kHugePage : bytes >= 4096 ? 4096 : 64;
  return (bytes + step - 1) / step * step;
}

}  // namespace

void advise_huge(void* data, size_t bytes) noexcept {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const auto begin = (reinterpret_cast<uintptr_t>(data) + kHugePage - 1) & ~(kHugePage - 1);
  const auto end = (reinterpret_cast<uintptr_t>(data) + bytes) & ~(kHugePage - 1);
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data, (void)bytes;
#endif
}

void* scratch_take(size_t bytes) {
  bytes = rounded(bytes);
  Cache& c = cache();
  {
    std::lock_guard<std::mutex> lock(c.mutex);
    c.live += bytes;
    c.peak = std::max(c.peak, c.live);
    const auto hit = c.free.find(bytes);
    if (hit != c.free.end() && !hit->second.empty()) {
      void* data = hit->second.back();
      hit->second.pop_back();
      c.cached -= bytes;
      return data;
    }
  }
  const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
  void* data = ::operator new(bytes, std::align_val_t(alignment), std::nothrow);
  if (!data) {
    scratch_trim();
    data = ::operator new(bytes, std::align_val_t(alignment), std::nothrow);
  }
  if (!data) {
    std::lock_guard<std::mutex> lock(c.mutex);
    c.live -= bytes;
    throw Error(Code::out_of_memory,
                "out of memory: requested " + std::to_string(bytes) + " bytes of scratch memory");
  }
  advise_huge(data, bytes);
  return data;
}

static void release(void* data, size_t bytes) noexcept {
  ::operator delete(data, std::align_val_t(bytes >= kHugePage ? kHugePage : 64));
}

void scratch_give(void* data, size_t bytes) noexcept {
  bytes = rounded(bytes);
  Cache& c = cache();
  {
    std::lock_guard<std::mutex> lock(c.mutex);
    c.live -= bytes;
    if (c.cached + bytes <= kKeepBytes) {
      try {
        c.free[bytes].push_back(data);
        c.cached += bytes;
        return;
      } catch (...) {
      }
    }
  }
  release(data, bytes);
}

void scratch_trim() noexcept {
  Cache& c = cache();
  std::lock_guard<std::mutex> lock(c.mutex);
  for (const auto& [bytes, list] : c.free)
    for (void* data : list) release(data, bytes);
  c.free.clear();
  c.cached = 0;
}

size_t scratch_live_bytes() {
  std::lock_guard<std::mutex> lock(cache().mutex);
  return cache().live;
}
size_t scratch_cached_bytes() {
  std::lock_guard<std::mutex> lock(cache().mutex);
  return cache().cached;
}
size_t scratch_peak_bytes(bool reset) {
  std::lock_guard<std::mutex> lock(cache().mutex);
  const size_t peak = cache().peak;
  if (reset) cache().peak = cache().live;
  return peak;
}

}  // namespace surprisal
