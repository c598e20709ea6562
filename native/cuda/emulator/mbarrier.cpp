#include "cuda/emulator/mbarrier.h"

#include <algorithm>

#include "cuda/emulator/access.h"
#include "cuda/emulator/scheduler.h"

namespace surprisal::cuda::emulator {
namespace {

constexpr int64_t kMostBytes = (1 << 20) - 1;

Mbarrier* find(Block& block, const uint64_t* at) {
  for (Mbarrier& b : block.mbarriers) {
    if (b.at == at) return &b;
  }
  return nullptr;
}

Mbarrier& require_barrier(Block& block, const uint64_t* at, Site site) {
  Mbarrier* b = find(block, at);
  if (!b) stop("no mbarrier was initialised at " + describe(at), site);
  return *b;
}

// Nobody but its maker may use it before a barrier of threads.
void require_known(const uint64_t* at, Site site) {
  if (watching) note_read(current->actor, at, sizeof *at, site);
}

void end_phase(Mbarrier& b) {
  if (b.missing > 0 || b.bytes != 0) return;
  b.phase ^= 1;
  b.missing = b.expected;
  b.released = b.arrived;
  learn(b.released, current->block->launch->shape.cluster > 1 ? kOfCluster : kOfBlock, advance());
  machine().wake(b.waiting);
}

void arrive(Mbarrier& b, Site site) {
  if (b.missing == 0) {
    stop("over-arrival: the phase of the mbarrier already has its " + std::to_string(b.expected) +
             " arrivals",
         site);
  }
  learn(b.arrived, current->actor.seen);
  b.missing--;
  end_phase(b);
}

}  // namespace

void mbarrier_init(uint64_t* at, int arrivals, Site site) {
  require_clusters(site);
  Block& block = *current->block;
  if (arrivals < 1 || arrivals >= 1 << 20) stop("mbarrier: 1 to 2^20 - 1 arrivals", site);
  Mbarrier* b = find(block, at);
  if (b) {
    if (!b->waiting.empty()) stop("mbarrier initialised while threads wait on it", site);
  } else {
    check_write<8, 8>(at, site);
    set_state(at, sizeof *at, kBarrier);
    block.mbarriers.emplace_back();
    b = &block.mbarriers.back();
  }
  *b = Mbarrier{};
  b->at = at;
  b->expected = b->missing = arrivals;
  b->owner = current->index;
}

void mbarrier_fence() {
  for (Mbarrier& b : current->block->mbarriers) b.fenced |= b.owner == current->index;
}

void mbarrier_arrive(uint64_t* at, int rank, Site site) {
  Block* block = current->block;
  if (rank >= 0) {
    in_block(at, rank, site);
    Block& other = *block->cluster->blocks[static_cast<size_t>(rank)];
    at = reinterpret_cast<uint64_t*>(other.shared.data() +
                                     (reinterpret_cast<uint8_t*>(at) - block->shared.data()));
    block = &other;
  }
  Mbarrier& b = require_barrier(*block, at, site);
  if (block != current->block && !b.fenced) {
    stop("mbarrier of another block without a barrier_init_fence after its barrier_init", site);
  }
  require_known(at, site);
  arrive(b, site);
}

void mbarrier_expect(uint64_t* at, int bytes, Site site) {
  Mbarrier& b = require_barrier(*current->block, at, site);
  require_known(at, site);
  b.bytes += bytes;
  if (bytes < 0 || b.bytes > kMostBytes) stop("mbarrier: more than 2^20 - 1 bytes expected", site);
  arrive(b, site);
}

void mbarrier_wait(uint64_t* at, uint32_t parity, Site site) {
  if (parity > 1) stop("mbarrier: a parity is 0 or 1", site);
  require_barrier(*current->block, at, site);
  require_known(at, site);
  for (;;) {
    Mbarrier& b = require_barrier(*current->block, at, site);
    if (b.phase != parity) {
      learn(current->actor.seen, b.released);
      return;
    }
    b.waiting.push_back(current);
    machine().wait("barrier_wait", site);
  }
}

void complete_bytes(const Signal& signal, Site site) {
  Mbarrier& b = require_barrier(*signal.block, signal.at, site);
  b.bytes -= signal.bytes;
  if (b.bytes < -kMostBytes) stop("mbarrier: more bytes arrived than expected", site);
  end_phase(b);
}

void require_ready_for_engine(Block& block, uint64_t* at, Site site) {
  const Mbarrier& b = require_barrier(block, at, site);
  require_known(at, site);
  if (!b.fenced) stop("mbarrier used by a copy without a barrier_init_fence after its init", site);
}

}  // namespace surprisal::cuda::emulator
