// Copies that go on behind the threads' backs (cp.async, bulk copies, TMA), and the mbarriers that
// count them. A copy reads its source and writes its destination at moments of the scheduler's
// choosing, at the latest when a wait demands it: what is read too early is not there yet, what is
// overwritten too early arrives wrong.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "cuda/emulator/race.h"

namespace surprisal::cuda::emulator {

struct Thread;
struct Block;
class Random;

// One stretch of a copy. No source: zeros.
struct Piece {
  const uint8_t* from;
  uint8_t* to;
  uint32_t bytes;
};
// What a copy tells when it is done: so many bytes to the mbarrier at `at` of the block.
struct Signal {
  Block* block;
  uint64_t* at;
  int bytes;
};

struct Copy {
  std::vector<Piece> pieces;
  std::vector<Signal> signals;
  std::vector<uint8_t> buffer;  // between its reading and its writing
  Actor actor{};                // who started it, and what that thread knew
  Site site{};
  bool from_shared = false, as_engine = true;
  enum { waiting, read, done } stage = waiting;
};
using CopyPointer = std::shared_ptr<Copy>;

// A thread's copies in groups, as commit and wait see them.
struct Groups {
  std::vector<CopyPointer> open;
  std::vector<std::vector<CopyPointer>> committed;
  void clear() {
    open.clear();
    committed.clear();
  }
};

// All copies of a launch that are not done.
class Engine {
 public:
  void start(CopyPointer copy);
  void read(Copy& copy);
  void finish(Copy& copy);
  // Does one copy, or half of it; false if there is none.
  bool step(Random& random);
  // Does one that threads may wait for on an mbarrier; false if there is none.
  bool step_for_waiters();
  void drain();
  bool empty() const { return pending_.empty(); }
  // Copies that still use the shared memory of a block.
  const Copy* user_of(const Block& block) const;
  void clear() { pending_.clear(); }

 private:
  std::deque<CopyPointer> pending_;
};

// The state of an mbarrier is kept here, not in its eight bytes: nothing else may touch those.
struct Mbarrier {
  uint64_t* at = nullptr;
  int expected = 0;   // arrivals a phase
  int missing = 0;    // arrivals
  int64_t bytes = 0;  // expected and not yet arrived
  uint32_t phase = 0;
  bool fenced = false;  // the copy engine and other blocks may use it
  int owner = 0;        // the thread that made it
  std::vector<Thread*> waiting;
  Seen arrived{}, released{};  // what the arrivals of this phase know, and those of the last
};

// --- for the intrinsics; pointers are to shared memory of the current block
// -----------------------
void mbarrier_init(uint64_t* at, int arrivals, Site site);
void mbarrier_fence();
void mbarrier_arrive(uint64_t* at, int rank, Site site);  // rank -1: the own block
void mbarrier_expect(uint64_t* at, int bytes, Site site);
void mbarrier_wait(uint64_t* at, uint32_t parity, Site site);
void fence_for_engine();  // fence_async

void start_bulk_load(void* to, const void* from, int bytes, uint64_t* barrier, Site site);
void start_bulk_store(void* to, const void* from, int bytes, Site site);
void start_copy16(void* to, const void* from, bool valid, Site site);
enum class Ring { bulk, copy16 };
void commit_copies(Ring ring);
// All but the latest `left` groups; `only_read`: they need not have written yet.
void wait_copies(Ring ring, int left, bool only_read, Site site);

}  // namespace surprisal::cuda::emulator
