// What threads do together: barriers of a block, of some of its warps and of a cluster, and the
// exchanges of a warp.
#include "cuda/emulator/machine.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/check.h"
#include "cuda/emulator/scheduler.h"

namespace surprisal::cuda::emulator {
namespace {

uint64_t number_of(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace

int arch() { return number_of("SURPRISAL_EMULATOR_ARCH", 90) == 80 ? 80 : 90; }
int processors() {
  return static_cast<int>(number_of("SURPRISAL_EMULATOR_PROCESSORS", arch() >= 90 ? 132 : 108));
}
uint64_t base_seed() { return number_of("SURPRISAL_EMULATOR_SEED", 0); }

void run(const void* kernel, const Shape& shape, void** arguments,
         void (*emulate)(const void* kernel, void** arguments), uint64_t seed) {
  if (shape.blocks == 0) return;
  const bool clusters = arch() >= 90;
  require(!current, "cuda emulator: a kernel cannot launch another");
  require(shape.blocks > 0 && shape.blocks < int64_t{1} << 31, "launch: too many blocks");
  require(shape.threads >= 1 && shape.threads <= 1024, "launch: 1 to 1024 threads a block");
  require(shape.cluster >= 1 && shape.cluster <= 16, "launch: 1 to 16 blocks a cluster");
  require(shape.cluster == 1 || clusters, "launch: clusters need sm_90");
  require(shape.blocks % shape.cluster == 0, "launch: blocks must be a multiple of the cluster");
  // Two blocks of 1024 threads on each multiprocessor.
  require(!shape.together || shape.blocks * shape.threads <= 2048 * int64_t{processors()},
          "launch: more blocks than run together");
  require(shape.shared >= 0 && shape.shared <= (clusters ? 227 : 163) << 10,
          "launch: too much shared memory");
  run_here({kernel, shape, arguments, emulate, seed});
}

void stop(const std::string& what, Site site) {
  std::string text = "cuda emulator: " + what;
  if (copying) {
    text += "; in an asynchronous copy of block " + std::to_string(copying->block) + ", thread " +
            std::to_string(copying->thread);
    copying = nullptr;
  } else if (current) {
    text += "; in block " + std::to_string(current->block->index) + ", thread " +
            std::to_string(current->index);
  }
  if (site.file) text += " (" + std::string(site.file) + ":" + std::to_string(site.line) + ")";
  if (current) text += ", seed " + std::to_string(machine().launch().seed);
  throw Error(Code::internal, text);
}

void yield(const char* waits_for, Site site) { machine().yield(waits_for, site); }

// --- barriers ------------------------------------------------------------------------------------
namespace {

// All know what each knew, and what was done until now by whoever is as near as `level`.
void join(const std::vector<Thread*>& others, Level level) {
  if (!watching) return;
  Seen& seen = current->actor.seen;
  for (const Thread* thread : others) learn(seen, thread->actor.seen);
  learn(seen, level, advance());
  for (Thread* thread : others) thread->actor.seen = seen;
}

// The last to come goes on at once and makes the others ready.
void meet(Rendezvous& place, int expected, Level level, const char* kind, Site site) {
  if (place.waiting.empty()) place.site = site;
  if (static_cast<int>(place.waiting.size()) + 1 == expected) {
    join(place.waiting, level);
    machine().wake(place.waiting);
    if (machine().shuffles()) machine().yield(kind, site);
    return;
  }
  place.waiting.push_back(current);
  machine().wait(kind, site);
}

}  // namespace

void sync_block(Site site) {
  Block& block = *current->block;
  Rendezvous& place = block.barriers[0];
  if (block.finished > 0) {
    stop("divergent barrier: sync_threads after a thread of the block has ended", site);
  }
  if (!place.waiting.empty() && (place.site.line != site.line || place.site.file != site.file)) {
    stop("divergent barrier: other threads of the block are in the sync_threads of line " +
             std::to_string(place.site.line),
         site);
  }
  meet(place, launch_of_current().shape.threads, kOfBlock, "sync_threads", site);
}

void sync_named(int id, int threads, Site site) {
  if (id < 1 || id >= kNamedBarriers) stop("sync_group: no barrier " + std::to_string(id), site);
  if (threads <= 0 || threads % 32 != 0 || threads > launch_of_current().shape.threads) {
    stop("sync_group: " + std::to_string(threads) + " threads", site);
  }
  Rendezvous& place = current->block->barriers[id];
  if (place.waiting.empty()) place.expected = threads;
  if (place.expected != threads) {
    stop("sync_group: barrier " + std::to_string(id) + " already waits for " +
             std::to_string(place.expected) + " threads, not " + std::to_string(threads),
         site);
  }
  meet(place, threads, kOfBlock, "sync_group", site);
}

void require_clusters(Site site) {
  static const bool present = arch() >= 90;
  if (!present) stop("an instruction of sm_90 on an sm_80", site);
}

void sync_cluster_blocks(Site site) {
  require_clusters(site);
  Cluster& cluster = *current->block->cluster;
  if (cluster.finished > 0) {
    stop("divergent barrier: sync_cluster after a thread of the cluster has ended", site);
  }
  const Shape& shape = launch_of_current().shape;
  meet(cluster.barrier, shape.threads * shape.cluster, kOfCluster, "sync_cluster", site);
}

const void* in_block(const void* p, int rank, Site site) {
  require_clusters(site);
  const Block& own = *current->block;
  if (rank < 0 || rank >= launch_of_current().shape.cluster) {
    stop("no block " + std::to_string(rank) + " in a cluster of " +
             std::to_string(launch_of_current().shape.cluster),
         site);
  }
  const std::ptrdiff_t offset = static_cast<const uint8_t*>(p) - own.shared.data();
  if (offset < 0 || offset >= own.shared.bytes()) {
    stop("the address is not in the shared memory of the block", site);
  }
  const Block& other = *own.cluster->blocks[static_cast<size_t>(rank)];
  if (other.finished == launch_of_current().shape.threads) {
    stop("shared memory of block " + std::to_string(other.index) + ", which has ended", site);
  }
  return other.shared.data() + offset;
}

// --- warps ---------------------------------------------------------------------------------------

namespace {

// Counts the lane in. True for the last to come, which wakes the others when it has done for them
// what they wait for.
bool is_last_lane(Warp& warp, const char* kind, Site site) {
  if (warp.lanes < 32 || warp.finished > 0) {
    stop(std::string("divergent warp: ") + kind + " in a warp without all of its 32 lanes", site);
  }
  if (warp.waiting.empty()) warp.kind = kind;
  if (std::strcmp(warp.kind, kind) != 0) {
    stop(std::string("divergent warp: ") + kind + " while other lanes are in " + warp.kind, site);
  }
  return warp.waiting.size() + 1 == 32;
}

Warp& warp_of_current() { return current->block->warps[static_cast<size_t>(current->index / 32)]; }

}  // namespace

void sync_lanes(Site site) {
  Warp& warp = warp_of_current();
  if (is_last_lane(warp, "sync_warp", site)) {
    join(warp.waiting, kOfWarp);
    machine().wake(warp.waiting);
  } else {
    warp.waiting.push_back(current);
    machine().wait("sync_warp", site);
  }
}

const uint64_t* exchange(const char* kind, uint64_t value, Site site) {
  Warp& warp = warp_of_current();
  const bool last = is_last_lane(warp, kind, site);
  const uint32_t turn = warp.exchange % 2;
  warp.value[turn][current->index % 32] = value;
  if (last) {
    warp.exchange++;
    machine().wake(warp.waiting);
  } else {
    warp.waiting.push_back(current);
    machine().wait(kind, site);
  }
  return warp.value[turn];
}

void together(const char* kind, void* mine, void (*all)(void* const (&lanes)[32]), Site site) {
  Warp& warp = warp_of_current();
  const bool last = is_last_lane(warp, kind, site);
  warp.given[current->index % 32] = mine;
  if (last) {
    all(warp.given);
    machine().wake(warp.waiting);
  } else {
    warp.waiting.push_back(current);
    machine().wait(kind, site);
  }
}

}  // namespace surprisal::cuda::emulator
