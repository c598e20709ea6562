// Device memory that is recycled without asking the driver: blocks by size class, in the order of
// the compute stream. A block that was freed may be handed out at once, because whatever is
// enqueued for its next user runs after what its last user enqueued. Below it lies CUDA's own
// stream-ordered pool.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "cuda/driver.h"

namespace surprisal::cuda {

class Context;

// Eight classes an octave: at most an eighth of a block is slack.
int64_t size_class(int64_t bytes);

// SURPRISAL_POOL=exact, for tools that watch every access: each tensor and each scratch array has a
// block of the driver's to itself, of just its bytes, until it is freed. Slow.
bool wants_exact();

// Not safe for threads: its context's lock is held.
class Pool {
 public:
  // That of a graph keeps its blocks in any case: their addresses are recorded.
  explicit Pool(Context& context, bool keeps = true) : context_(context), keeps_(keeps) {}
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // A block of at least `bytes`; kOutOfMemory where the driver has none.
  driver::Status take(int64_t bytes, void** out);
  void give(void* data, int64_t bytes);
  // Gives the driver what nobody uses.
  void release_cached();
  // Gives it what would be more than this, from here on.
  void limit(int64_t bytes) { limit_ = bytes; }

  int64_t cached() const { return cached_; }  // bytes not in use

 private:
  Context& context_;
  const bool keeps_;
  std::unordered_map<int64_t, std::vector<void*>> free_;
  int64_t cached_ = 0, limit_ = INT64_MAX;
};

// Memory of a device. The last holder's end gives it back to its pool, so that a tensor freed while
// it is being read, or while a captured graph needs it, lives as long as that does.
struct Block {
  Block(Context& context, std::shared_ptr<Pool> pool, void* data, int64_t bytes, bool counted)
      : context(context), pool(std::move(pool)), data(data), bytes(bytes), counted(counted) {}
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  Context& context;
  std::shared_ptr<Pool> pool;   // null: memory that somebody else owns
  std::shared_ptr<void> owner;  // of that
  void* data;
  int64_t bytes;                // as asked for
  bool counted;                 // a tensor's memory, not scratch
  std::atomic<int> readers{0};  // copies on the read stream
};

}  // namespace surprisal::cuda
