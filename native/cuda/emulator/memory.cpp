#include "cuda/emulator/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <deque>
#include <map>
#include <mutex>
#include <string>

#include "core/check.h"
#include "cuda/emulator/machine.h"

namespace surprisal::cuda::emulator {

Arena arena;

namespace {

constexpr int64_t kRedZone = 256;
constexpr int64_t kWindowAlign = 1024;
constexpr int64_t kQuarantine = int64_t{64} << 20;
constexpr int64_t kPagesBack = int64_t{256} << 10;  // freed blocks from here on return their pages

struct Region {
  int64_t bytes;     // as asked for
  int64_t capacity;  // with the red zone behind it
  bool shared;
};

// Global memory, or shared memory.
struct Span {
  uint8_t *next = nullptr, *end = nullptr;
  std::multimap<int64_t, uint8_t*> free;  // by capacity
};

struct Heap {
  std::mutex mutex;
  Span spans[2];
  std::map<uint8_t*, Region> live, freed;
  std::deque<uint8_t*> quarantine;  // freed, not yet handed out again
  int64_t waiting = 0, live_bytes = 0;
};

Heap& heap() {
  static Heap* instance = new Heap;  // host threads may outlive static destruction
  return *instance;
}

void* reserve(uint64_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

// The address range, its states and its records; smaller where the process may not have that much.
void make_arena(Heap& h) {
  for (uint64_t size = uint64_t{64} << 30; size >= uint64_t{1} << 30; size /= 2) {
    auto* memory = static_cast<uint8_t*>(reserve(size * 6));
    if (!memory) continue;
    arena.begin = reinterpret_cast<uintptr_t>(memory);
    arena.state = memory + size;
    arena.records = memory + 2 * size;
    arena.shared_begin = size / 8 * 7;
    h.spans[0] = {memory + kWindowAlign, memory + arena.shared_begin, {}};
    h.spans[1] = {memory + arena.shared_begin + kWindowAlign, memory + size - 4096, {}};
    arena.size = size - 4096;  // an access may begin before the end and reach over it
    return;
  }
  throw Error(Code::out_of_memory, "cuda emulator: no address space for device memory");
}

// Sizes are rounded so that freed blocks fit later requests of about the same size.
int64_t capacity_for(int64_t bytes) {
  int64_t step = kWindowAlign;
  while (step * 8 < bytes) step *= 2;
  return (bytes + kRedZone + step - 1) / step * step;
}

void* take(int64_t bytes, bool shared) {
  Heap& h = heap();
  std::lock_guard<std::mutex> lock(h.mutex);
  if (arena.size == 0) make_arena(h);
  const int64_t capacity = capacity_for(bytes);
  Span& span = h.spans[shared];
  uint8_t* p;
  if (const auto hit = span.free.find(capacity); hit != span.free.end()) {
    p = hit->second;
    span.free.erase(hit);
    h.freed.erase(p);
  } else {
    if (capacity > span.end - span.next) {
      throw Error(Code::out_of_memory, "cuda emulator: device memory is exhausted");
    }
    p = span.next;
    span.next += capacity;
  }
  h.live[p] = {bytes, capacity, shared};
  if (!shared) h.live_bytes += bytes;
  return p;
}

void retire(Heap& h) {
  while (h.waiting > kQuarantine && !h.quarantine.empty()) {
    uint8_t* p = h.quarantine.front();
    h.quarantine.pop_front();
    const Region& region = h.freed[p];
    h.waiting -= region.capacity;
    h.spans[region.shared].free.emplace(region.capacity, p);
  }
}

// The last region of a map that begins at or before p.
const std::pair<uint8_t* const, Region>* region_at(const std::map<uint8_t*, Region>& regions,
                                                   const void* p) {
  auto at = regions.upper_bound(static_cast<uint8_t*>(const_cast<void*>(p)));
  return at == regions.begin() ? nullptr : &*--at;
}

std::string place_of(Heap& h, const void* p) {
  const auto* byte = static_cast<const uint8_t*>(p);
  const auto* live = region_at(h.live, p);
  const auto* freed = region_at(h.freed, p);
  if (freed && (!live || freed->first > live->first) && byte < freed->first + freed->second.bytes) {
    return "offset " + std::to_string(byte - freed->first) + " of a freed allocation of " +
           std::to_string(freed->second.bytes) + " bytes";
  }
  // Just before an allocation is more likely meant than far behind the one before it.
  const auto after = h.live.upper_bound(const_cast<uint8_t*>(byte));
  const bool before = after != h.live.end() &&
                      (!live || after->first - byte < byte - (live->first + live->second.bytes));
  if (!before && !live) return "an address behind all allocations";
  const auto& [begin, region] = before ? *after : *live;
  const std::string offset = "offset " + std::to_string(byte - begin) + " of ";
  if (!region.shared) {
    return offset + "an allocation of " + std::to_string(region.bytes) + " bytes";
  }
  // The window may be larger than what the launch asked for.
  const int64_t bytes = current ? launch_of_current().shape.shared : region.bytes;
  return offset + "the shared memory of " + std::to_string(bytes) + " bytes";
}

}  // namespace

void* allocate(int64_t bytes) {
  void* p = take(std::max<int64_t>(bytes, 1), false);
  set_state(p, bytes, kUninitialised);
  return p;
}

void release(void* p) {
  if (!p) return;
  Heap& h = heap();
  std::lock_guard<std::mutex> lock(h.mutex);
  const auto at = h.live.find(static_cast<uint8_t*>(p));
  if (at == h.live.end()) throw Error(Code::internal, "cuda emulator: release of no allocation");
  const Region region = at->second;
  h.live.erase(at);
  if (!region.shared) h.live_bytes -= region.bytes;
  if (region.capacity >= kPagesBack) {
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(p) + 4095) & ~uintptr_t{4095};
    const uintptr_t end = (reinterpret_cast<uintptr_t>(p) + region.capacity) & ~uintptr_t{4095};
    const uint64_t offset = begin - arena.begin;
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
    madvise(static_cast<uint8_t*>(arena.records) + 4 * offset, 4 * (end - begin), MADV_DONTNEED);
  }
  set_state(p, region.bytes, kOutside);
  h.freed[static_cast<uint8_t*>(p)] = region;
  h.quarantine.push_back(static_cast<uint8_t*>(p));
  h.waiting += region.capacity;
  retire(h);
}

int64_t live_bytes() {
  Heap& h = heap();
  std::lock_guard<std::mutex> lock(h.mutex);
  return h.live_bytes;
}

void set_state(const void* p, int64_t bytes, State state) {
  if (bytes > 0) std::memset(state_of(p), state, static_cast<size_t>(bytes));
}

void mark_initialised(void* p, int64_t bytes) { set_state(p, bytes, kInitialised); }
void mark_uninitialised(void* p, int64_t bytes) { set_state(p, bytes, kUninitialised); }

std::string describe(const void* p) {
  Heap& h = heap();
  std::lock_guard<std::mutex> lock(h.mutex);
  return place_of(h, p);
}

void check(Access access, const void* p, size_t bytes, size_t align, Site site) {
  const uintptr_t a = reinterpret_cast<uintptr_t>(p);
  const uint8_t bit = access == Access::read ? 2 : 1;
  bool fine =
      a % align == 0 && a - arena.begin < arena.size && arena.size - (a - arena.begin) >= bytes;
  const uint8_t* state = fine ? state_of(p) : nullptr;
  size_t i = 0;
  for (; fine && i + 8 <= bytes; i += 8) fine = all_have<8>(state + i, bit);
  for (; fine && i < bytes; i++) fine = state[i] & bit;
  if (!fine) refuse(access, p, bytes, align, site);
}

void check_range(const void* p, int64_t bytes, bool write) {
  if (bytes > 0) {
    check(write ? Access::write : Access::read, p, static_cast<size_t>(bytes), 1, {nullptr, 0});
  }
}

void refuse(Access access, const void* p, size_t bytes, size_t align, Site site) {
  const uintptr_t a = reinterpret_cast<uintptr_t>(p);
  const std::string what = std::string(access == Access::read ? "read" : "write") + " of " +
                           std::to_string(bytes) + " bytes at ";
  const uint8_t bit = access == Access::read ? 2 : 1;
  if (!is_device(p)) {
    char address[32];
    std::snprintf(address, sizeof address, "%p", p);
    stop(what + address + ", which is no device memory", site);
  }
  const uint8_t* state = state_of(p);
  const uint8_t* wrong =
      std::find_if(state, state + bytes, [&](uint8_t s) { return (s & bit) == 0; });
  const std::string place = describe(p);
  if (a % align != 0) {
    stop("misaligned " + what + place + ": the address is no multiple of " + std::to_string(align),
         site);
  }
  const std::string which =
      wrong > state && wrong < state + bytes ? " (byte " + std::to_string(wrong - state) + ")" : "";
  switch (wrong < state + bytes ? *wrong : uint8_t{kInitialised}) {
    case kUninitialised:
      stop("uninitialised " + what + place + which, site);
    case kSource:
      stop(what + place + which + ", which an asynchronous copy is still reading", site);
    case kDestination:
      stop(what + place + which + ", which an asynchronous copy is still writing", site);
    case kBarrier:
      stop(what + place + which + ", which is an mbarrier", site);
    default:
      stop("out-of-bounds " + what + place + which, site);
  }
}

Window::~Window() { release(data_); }

void Window::open(int64_t bytes) {
  if (bytes > capacity_) {
    release(data_);
    data_ = nullptr;
    data_ = static_cast<uint8_t*>(take(bytes, true));
    capacity_ = bytes;
  } else if (bytes_ > bytes) {
    set_state(data_ + bytes, bytes_ - bytes, kOutside);
  }
  bytes_ = bytes;
  set_state(data_, bytes, kUninitialised);
  if (bytes > 0) std::memset(data_, 0xff, static_cast<size_t>(bytes));  // NaN, to whom it may reach
}

}  // namespace surprisal::cuda::emulator
