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
  require(shape.shared >= 0 && shape.shared <= (clusters ? 227 : 163) << 10,
          "launch: too much shared memory");
  run_here({kernel, shape, arguments, emulate, seed});
}

void stop(const std::string& what, Site site) {
  std::string text = "cuda emulator: " + what;
  if (current) {
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

// The last to come goes on at once and makes the others ready.
void meet(Rendezvous& place, int expected, const char* kind, Site site) {
  if (place.waiting.empty()) place.site = site;
  if (static_cast<int>(place.waiting.size()) + 1 == expected) {
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
  meet(place, launch_of_current().shape.threads, "sync_threads", site);
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
  meet(place, threads, "sync_group", site);
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
  meet(cluster.barrier, shape.threads * shape.cluster, "sync_cluster", site);
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
  return own.cluster->blocks[static_cast<size_t>(rank)]->shared.data() + offset;
}

// --- warps ---------------------------------------------------------------------------------------

const uint64_t* exchange(const char* kind, uint64_t value, Site site) {
  const int lane = current->index % 32;
  Warp& warp = current->block->warps[static_cast<size_t>(current->index / 32)];
  if (warp.lanes < 32 || warp.finished > 0) {
    stop(std::string("divergent warp: ") + kind + " in a warp without all of its 32 lanes", site);
  }
  if (warp.waiting.empty()) warp.kind = kind;
  if (std::strcmp(warp.kind, kind) != 0) {
    stop(std::string("divergent warp: ") + kind + " while other lanes are in " + warp.kind, site);
  }
  const uint32_t turn = warp.exchange % 2;
  warp.value[turn][lane] = value;
  if (warp.waiting.size() + 1 == 32) {
    warp.exchange++;
    machine().wake(warp.waiting);
  } else {
    warp.waiting.push_back(current);
    machine().wait(kind, site);
  }
  return warp.value[turn];
}

const Operands* exchange_operands(const char* kind, const Operands& own, Site site) {
  Warp& warp = current->block->warps[static_cast<size_t>(current->index / 32)];
  const uint32_t turn = warp.exchange % 2;
  std::memcpy(warp.operands[turn][current->index % 32], own, sizeof own);
  exchange(kind, 0, site);
  return warp.operands[turn];
}

}  // namespace surprisal::cuda::emulator
