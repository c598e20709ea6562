#include "cuda/emulator/race.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/check.h"
#include "cuda/emulator/machine.h"

namespace surprisal::cuda::emulator {

__thread bool watching = false;
__thread const Actor* copying = nullptr;

namespace {

constexpr uint32_t kLastTime = (1u << 28) - 1;
constexpr uint32_t kBlocks = 1u << 18;  // block numbers are kept modulo this

struct Record {
  uint64_t time : 28;
  uint64_t block : 18;
  uint64_t thread : 11;
  uint64_t spread : 3;  // 0 for one thread; for several how far apart they are, Level + 1
  uint64_t bytes : 4;   // which of the four
};
static_assert(sizeof(Record) == 8, "one word");
struct Records {
  Record write, read;
};

std::atomic<bool> taken{false};
uint32_t clock_ = 1;
uint32_t* published = nullptr;  // by block: up to when its writes are visible to the device

Records* records_of(const void* p) {
  const uint64_t offset = reinterpret_cast<uintptr_t>(p) - arena.begin;
  return reinterpret_cast<Records*>(arena.records) + offset / 4;
}

Level distance(const Actor& me, const Record& other) {
  if (other.block == me.block) return other.thread / 32 == me.thread / 32 ? kOfWarp : kOfBlock;
  return other.block / me.cluster == me.block / me.cluster ? kOfCluster : kOfDevice;
}

bool is_own(const Actor& me, const Record& r) {
  return r.thread == me.thread && r.block == me.block && r.spread == 0;
}

// Shared memory has another life in each block that it is given to.
bool ordered(const Actor& me, const Record& r, bool shared, bool written) {
  const auto time = static_cast<uint32_t>(r.time);
  if (time < (shared ? me.block_begin : me.launch_begin) || is_own(me, r)) return true;
  const Level level =
      std::max(distance(me, r), r.spread ? static_cast<Level>(r.spread - 1) : kOfWarp);
  if (time >= me.seen.until[level]) return false;
  return level < kOfDevice || !written || time < published[r.block];
}

[[noreturn]] void race(const char* what, const void* p, const Record& r, const char* did,
                       Site site) {
  std::string who = r.thread == kEngine ? std::string("an asynchronous copy")
                                        : "thread " + std::to_string(r.thread);
  if (r.spread) who = "several threads";
  stop(std::string("race: ") + what + " of " + describe(p) + ", which " + who + " of block " +
           std::to_string(r.block) + " " + did + " without synchronisation in between",
       site);
}

struct Granule {
  Records* records;
  uint32_t bytes;
  const uint8_t* at;
};
// Calls f for every 4 bytes that the access touches.
template <class F>
inline void each_granule(const void* p, size_t bytes, F&& f) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(p), end = begin + bytes;
  Records* records = records_of(p);
  for (uintptr_t a = begin & ~uintptr_t{3}; a < end; a += 4, records++) {
    uint32_t mask = 15;
    if (a < begin) mask &= 15u << (begin - a);
    if (a + 4 > end) mask &= 15u >> (a + 4 - end);
    f(Granule{records, mask, reinterpret_cast<const uint8_t*>(a)});
  }
}

bool is_shared(const void* p) {
  return reinterpret_cast<uintptr_t>(p) - arena.begin >= arena.shared_begin;
}

Record record_by(const Actor& me, uint32_t thread, uint32_t bytes) {
  return {clock_, me.block, thread, 0, bytes};
}

}  // namespace

uint32_t now() { return clock_; }
uint32_t advance() {
  if (watching && clock_ < kLastTime) ++clock_;
  return clock_;
}

uint32_t watch() {
  static const bool wanted = [] {
    const char* text = std::getenv("SURPRISAL_EMULATOR_RACES");
    return !text || text[0] != '0';
  }();
  watching = wanted && arena.records && !taken.exchange(true);
  if (!watching) return 0;
  if (!published) published = new uint32_t[kBlocks]();
  if (clock_ > kLastTime / 2) {  // long ago: forget everything and begin again
    madvise(arena.records, arena.size * 4, MADV_DONTNEED);
    std::fill(published, published + kBlocks, 0);
    clock_ = 1;
  }
  return ++clock_;
}
void unwatch() {
  if (watching) taken = false;
  watching = false;
}

Actor actor_for(int64_t block, int thread, int cluster, uint32_t launch_begin,
                uint32_t block_begin) {
  const auto number = static_cast<uint32_t>(block) % kBlocks;
  const Seen nothing{{launch_begin, launch_begin, launch_begin, launch_begin}};
  return {number,
          static_cast<uint32_t>(thread),
          static_cast<uint32_t>(cluster),
          launch_begin,
          block_begin,
          nothing};
}

namespace {

// The first field of a record, without taking it apart.
uint32_t time_of(const Record& r) {
  uint64_t word;
  std::memcpy(&word, &r, sizeof word);
  return static_cast<uint32_t>(word) & kLastTime;
}

// Where a record is of this launch (for shared memory: of this block) it has to be looked at.
__attribute__((noinline)) Record reader(const Actor& me, const Granule& g, bool shared, Site site) {
  const Record w = g.records->write, r = g.records->read;
  if ((w.bytes & g.bytes) && !ordered(me, w, shared, true)) race("read", g.at, w, "wrote", site);
  Record mine = record_by(me, me.thread, g.bytes);
  if (is_own(me, r)) {
    if (r.time == mine.time) mine.bytes |= r.bytes;
  } else if ((r.bytes & g.bytes) && !ordered(me, r, shared, false)) {
    mine.spread = std::max<uint64_t>(distance(me, r) + 1, r.spread);
    mine.bytes = r.bytes & g.bytes;  // those that several read
  }
  return mine;
}

__attribute__((noinline)) void check_writer(const Actor& me, const Granule& g, bool shared,
                                            Site site) {
  const Record w = g.records->write, r = g.records->read;
  if ((w.bytes & g.bytes) && !ordered(me, w, shared, true)) race("write", g.at, w, "wrote", site);
  if ((r.bytes & g.bytes) && !ordered(me, r, shared, false)) race("write", g.at, r, "read", site);
}

}  // namespace

void note_read(const Actor& me, const void* p, size_t bytes, Site site) {
  const bool shared = is_shared(p);
  const uint32_t begin = shared ? me.block_begin : me.launch_begin;
  Record mine = record_by(me, me.thread, 0);
  each_granule(p, bytes, [&](const Granule& g) {
    if (time_of(g.records->write) < begin && time_of(g.records->read) < begin) {
      mine.bytes = g.bytes & 15;
      g.records->read = mine;
    } else {
      g.records->read = reader(me, g, shared, site);
    }
  });
}

void check_write_order(const Actor& me, const void* p, size_t bytes, Site site) {
  const bool shared = is_shared(p);
  const uint32_t begin = shared ? me.block_begin : me.launch_begin;
  each_granule(p, bytes, [&](const Granule& g) {
    if (time_of(g.records->write) >= begin || time_of(g.records->read) >= begin) {
      check_writer(me, g, shared, site);
    }
  });
}

void record_write(const Actor& me, uint32_t as, const void* p, size_t bytes) {
  Record mine = record_by(me, as, 0);
  each_granule(p, bytes, [&](const Granule& g) {
    mine.bytes = g.bytes & 15;
    g.records->write = mine;
  });
}

void note_write(const Actor& me, uint32_t as, const void* p, size_t bytes, Site site) {
  check_write_order(me, p, bytes, site);
  record_write(me, as, p, bytes);
}

void require_fenced(const void* p, size_t bytes, Site site) {
  if (!watching) return;
  const Block& block = *current->block;
  each_granule(p, bytes, [&](const Granule& g) {
    const Record w = g.records->write;
    if (!(w.bytes & g.bytes) || w.time < current->actor.block_begin) return;
    if (w.block != current->actor.block || w.thread >= block.threads.size()) return;
    if (w.time >= block.threads[w.thread].fenced) {
      stop("an asynchronous copy reads " + describe(g.at) + ", which thread " +
               std::to_string(w.thread) + " wrote without a fence_async after it",
           site);
    }
  });
}

void publish(int64_t block) {
  if (watching) published[static_cast<uint64_t>(block) % kBlocks] = advance();
}

}  // namespace surprisal::cuda::emulator
