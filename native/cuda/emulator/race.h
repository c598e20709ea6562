// Data races within a launch. For every 4 bytes of device memory two records, of the last write and
// of the last reads: who and when. Time is a counter that each synchronisation advances; a thread
// knows, for its warp, block, cluster and the device, up to when what others did is ordered before
// it. An access that meets a record of another thread that is not ordered is a race.
// Kept simple where that can only miss races: a wait on an mbarrier, a group's barrier and an
// atomic order all that was done before, by whomever; one reader is remembered, or that there were
// several.
#pragma once
#include <cstdint>

#include "cuda/emulator/memory.h"

namespace surprisal::cuda::emulator {

enum Level { kOfWarp, kOfBlock, kOfCluster, kOfDevice };

// Up to when others' accesses are known, by how far away they are. Never grows with distance.
struct Seen {
  uint32_t until[4];
};
inline void learn(Seen& seen, Level level, uint32_t time) {
  for (int l = 0; l <= level; l++) {
    if (seen.until[l] < time) seen.until[l] = time;
  }
}
inline void learn(Seen& seen, const Seen& other) {
  for (int l = 0; l < 4; l++) {
    if (seen.until[l] < other.until[l]) seen.until[l] = other.until[l];
  }
}

// Who accesses, and what is ordered before that.
struct Actor {
  uint32_t block;  // modulo 2^18
  uint32_t thread;
  uint32_t cluster;                    // blocks a cluster
  uint32_t launch_begin, block_begin;  // times
  Seen seen;
};

// The copy that is being done, for messages; null while a thread runs for itself.
extern __thread const Actor* copying __attribute__((visibility("hidden")));

// Whether this host thread's launch is watched: SURPRISAL_EMULATOR_RACES=0 turns it off, and only
// one launch at a time is.
extern __thread bool watching __attribute__((visibility("hidden")));

// The time now, and the same after moving it on.
uint32_t now();
uint32_t advance();
// At the begin and the end of a launch; the time from which on its accesses are.
uint32_t watch();
void unwatch();

constexpr uint32_t kEngine = 1024;  // the number, as a thread, of what copies asynchronously

Actor actor_for(int64_t block, int thread, int cluster, uint32_t launch_begin,
                uint32_t block_begin);
void note_read(const Actor& me, const void* p, size_t bytes, Site site);
// `as` is me.thread, or kEngine for a copy that `me` started and that others must wait for.
void note_write(const Actor& me, uint32_t as, const void* p, size_t bytes, Site site);
// The two halves of that: for a copy the first when it starts, the second when it is done.
void check_write_order(const Actor& me, const void* p, size_t bytes, Site site);
void record_write(const Actor& me, uint32_t as, const void* p, size_t bytes);
// Throws when ordinary writes of the block to [p, p + bytes) were not made visible to the copy
// engine by the writer's fence_async.
void require_fenced(const void* p, size_t bytes, Site site);
// What the block wrote so far is visible to the device (fence_device).
void publish(int64_t block);

}  // namespace surprisal::cuda::emulator
