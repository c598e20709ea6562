#include "cuda/emulator/async.h"

#include <cstring>

#include "cuda/emulator/access.h"
#include "cuda/emulator/mbarrier.h"
#include "cuda/emulator/scheduler.h"

namespace surprisal::cuda::emulator {
namespace {

bool is_shared(const Block& block, const void* p) {
  const auto* data = static_cast<const uint8_t*>(p);
  return data >= block.shared.data() && data < block.shared.data() + block.shared.bytes();
}

void require_multiple_of_16(const void* to, const void* from, int bytes, Site site) {
  if (reinterpret_cast<uintptr_t>(to) % 16 || reinterpret_cast<uintptr_t>(from) % 16) {
    stop("misaligned asynchronous copy: addresses must be multiples of 16", site);
  }
  if (bytes <= 0 || bytes % 16) {
    stop("asynchronous copy of " + std::to_string(bytes) + " bytes: must be a multiple of 16",
         site);
  }
}

void require_shared(const void* p, Site site) {
  if (!is_shared(*current->block, p)) {
    stop("the address is not in the shared memory of the block: " + describe(p), site);
  }
}

}  // namespace

CopyPointer make_copy(Site site) {
  auto copy = std::make_shared<Copy>();
  copy->actor = current->actor;
  copy->site = site;
  return copy;
}

// --- the engine ----------------------------------------------------------------------------------

// From here on nobody may touch the destination, or change a source in shared memory.
void Engine::start(CopyPointer copy) {
  for (const Piece& piece : copy->pieces) {
    if (piece.from) check(Access::read, piece.from, piece.bytes, 1, copy->site);
    check(Access::write, piece.to, piece.bytes, 1, copy->site);
    if (watching && !copy->from_shared) {
      check_write_order(copy->actor, piece.to, piece.bytes, copy->site);
    }
  }
  for (const Piece& piece : copy->pieces) {
    if (copy->from_shared) {
      set_state(piece.from, piece.bytes, kSource);
    } else {
      set_state(piece.to, piece.bytes, kDestination);
    }
  }
  pending_.push_back(std::move(copy));
}

void Engine::read(Copy& copy) {
  if (copy.stage != Copy::waiting) return;
  copying = &copy.actor;
  size_t bytes = 0;
  for (const Piece& piece : copy.pieces) bytes += piece.bytes;
  copy.buffer.assign(bytes, 0);
  uint8_t* to = copy.buffer.data();
  for (const Piece& piece : copy.pieces) {
    if (piece.from) {
      if (watching) note_read(copy.actor, piece.from, piece.bytes, copy.site);
      std::memcpy(to, piece.from, piece.bytes);
      if (copy.from_shared) set_state(piece.from, piece.bytes, kInitialised);
    }
    to += piece.bytes;
  }
  copy.stage = Copy::read;
  copying = nullptr;
}

void Engine::finish(Copy& copy) {
  read(copy);
  if (copy.stage == Copy::done) return;
  copying = &copy.actor;
  const uint8_t* from = copy.buffer.data();
  for (const Piece& piece : copy.pieces) {
    if (watching) {
      const uint32_t as = copy.as_engine ? kEngine : copy.actor.thread;
      if (copy.from_shared) check_write_order(copy.actor, piece.to, piece.bytes, copy.site);
      record_write(copy.actor, as, piece.to, piece.bytes);
    }
    set_state(piece.to, piece.bytes, kInitialised);
    std::memcpy(piece.to, from, piece.bytes);
    from += piece.bytes;
  }
  copy.stage = Copy::done;
  for (const Signal& signal : copy.signals) complete_bytes(signal, copy.site);
  copying = nullptr;
}

bool Engine::step(Random& random) {
  while (!pending_.empty() && pending_.front()->stage == Copy::done) pending_.pop_front();
  if (pending_.empty()) return false;
  const size_t i = random.below(pending_.size());
  const CopyPointer copy = pending_[i];
  if (copy->stage == Copy::waiting && random.below(2) == 0) {
    read(*copy);
    return true;
  }
  finish(*copy);
  pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(i));
  return true;
}

bool Engine::step_for_waiters() {
  for (size_t i = 0; i < pending_.size(); i++) {
    const CopyPointer copy = pending_[i];
    if (copy->signals.empty() || copy->stage == Copy::done) continue;
    finish(*copy);
    pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(i));
    return true;
  }
  return false;
}

void Engine::drain() {
  for (const CopyPointer& copy : pending_) finish(*copy);
  pending_.clear();
}

const Copy* Engine::user_of(const Block& block) const {
  for (const CopyPointer& copy : pending_) {
    if (copy->stage == Copy::done || copy->pieces.empty()) continue;
    for (const Piece& piece : copy->pieces) {
      if (is_shared(block, piece.to)) return copy.get();
      if (copy->stage == Copy::waiting && piece.from && is_shared(block, piece.from)) {
        return copy.get();
      }
    }
  }
  return nullptr;
}

// --- intrinsics ----------------------------------------------------------------------------------

void start_bulk_load(void* to, const void* from, int bytes, uint64_t* barrier, Site site) {
  require_clusters(site);
  require_multiple_of_16(to, from, bytes, site);
  require_shared(to, site);
  require_ready_for_engine(*current->block, barrier, site);
  CopyPointer copy = make_copy(site);
  copy->pieces.push_back(
      {static_cast<const uint8_t*>(from), static_cast<uint8_t*>(to), static_cast<uint32_t>(bytes)});
  copy->signals.push_back({current->block, barrier, bytes});
  machine().engine().start(std::move(copy));
}

void start_bulk_store(void* to, const void* from, int bytes, Site site) {
  require_clusters(site);
  require_multiple_of_16(to, from, bytes, site);
  require_shared(from, site);
  require_fenced(from, static_cast<size_t>(bytes), site);
  CopyPointer copy = make_copy(site);
  copy->from_shared = true;
  copy->pieces.push_back(
      {static_cast<const uint8_t*>(from), static_cast<uint8_t*>(to), static_cast<uint32_t>(bytes)});
  current->bulk.open.push_back(copy);
  machine().engine().start(std::move(copy));
}

// cp.async belongs to its thread: waited for, it is as if the thread had written.
void start_copy16(void* to, const void* from, bool valid, Site site) {
  require_multiple_of_16(to, valid ? from : nullptr, 16, site);
  require_shared(to, site);
  CopyPointer copy = make_copy(site);
  copy->as_engine = false;
  copy->pieces.push_back(
      {valid ? static_cast<const uint8_t*>(from) : nullptr, static_cast<uint8_t*>(to), 16});
  current->copies.open.push_back(copy);
  machine().engine().start(std::move(copy));
}

namespace {
Groups& groups(Ring ring) { return ring == Ring::bulk ? current->bulk : current->copies; }
}  // namespace

void commit_copies(Ring ring) {
  Groups& mine = groups(ring);
  mine.committed.push_back(std::move(mine.open));
  mine.open.clear();
}

void wait_copies(Ring ring, int left, bool only_read, Site site) {
  if (machine().shuffles()) machine().yield("a wait for copies", site);
  Groups& mine = groups(ring);
  Engine& engine = machine().engine();
  const int due = static_cast<int>(mine.committed.size()) - left;
  for (int i = 0; i < due; i++) {
    for (const CopyPointer& copy : mine.committed[static_cast<size_t>(i)]) {
      only_read ? engine.read(*copy) : engine.finish(*copy);
    }
  }
  if (only_read) return;
  if (due > 0) mine.committed.erase(mine.committed.begin(), mine.committed.begin() + due);
}

void fence_for_engine() { current->fenced = advance(); }

}  // namespace surprisal::cuda::emulator
