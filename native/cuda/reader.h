// Device to host. A waiting read copies on the compute stream. One that settles a promise copies
// large arrays on the read stream, behind an event of the compute stream, and small ones in between
// the operations; one thread for all devices polls the events and carries the bytes from
// page-locked memory to their place. No host callbacks: they would stall the stream, and are not
// run once a device has failed, so that promises would hang.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda/context.h"

namespace surprisal::cuda {

// A part of a read. Its page-locked memory is given back when the copy into it is known to be done.
struct Piece {
  Landing landing;
  void* event = nullptr;
  int64_t offset = 0, bytes = 0;
};

// What a read has on its way. What it leaves behind when something fails goes back, too, once
// nobody writes there any more.
struct Arrivals {
  explicit Arrivals(Context& context) : context(context) {}
  ~Arrivals();
  Arrivals(const Arrivals&) = delete;
  Arrivals& operator=(const Arrivals&) = delete;
  // Copies the fault record along if any kernel could have left one.
  void enqueue_fault(const Context::FaultCheck& wanted);
  Fault take_fault();  // and gives its memory back
  void enqueue(const char* from, int64_t offset, int64_t bytes);
  void take(char* to);  // the first piece, which has arrived; null: to nowhere

  Context& context;
  void* stream = nullptr;  // where the copies are
  Landing fault;
  std::deque<Piece> pieces;
};

// Waits for the device; then throws what kernels have reported. `block` may be null with no bytes.
void read_now(Context& context, const Block* block, void* to, int64_t bytes);

// A read on its way.
class Read {
 public:
  using Done = std::function<void(std::exception_ptr)>;
  // Enqueues the copies. `done` is called once, on the reader's thread, unless `owner` is drained.
  Read(Context& context, std::shared_ptr<Block> block, void* to, int64_t bytes, void* owner,
       Done done, bool looks_for_faults = true);
  ~Read();
  // On the reader's thread: carries what has arrived; true when it has called `done`.
  bool poll();
  void* owner() const { return owner_; }
  const Block* block() const { return block_.get(); }
  // Lets operations write to the block, in the order of the compute stream: what is not yet on its
  // way to the host is copied aside. With the context's lock held. False where that finds no memory
  // at once: to win some back takes longer than the copies, and waits for more.
  bool let_go();
  void abandon() { abandoned_ = true; }
  bool progressed = false;

 private:
  void enqueue_piece();
  void leave_block();
  void finish(std::exception_ptr error);

  Context& context_;
  std::shared_ptr<Block> block_, rest_;  // from `rest_from_` on the values are in `rest_`
  int64_t rest_from_ = 0;
  char* to_;
  int64_t bytes_, enqueued_ = 0;
  void* owner_;
  Done done_;
  Arrivals arrivals_;
  Context::FaultCheck check_;
  bool counted_ = false;  // among the block's readers, and the context's
  std::atomic<bool> abandoned_{false};
};

class Reader {
 public:
  static Reader& instance();
  void add(std::unique_ptr<Read> read);
  // No read writes to the owner's memory or calls back for it after this.
  void drain(void* owner);
  // Operations that are enqueued from here on may write to memory that is being copied: they wait
  // on the device. Waits for the copies here only where there is no memory to do without.
  void let_go_of(Block& block);
  void let_go_of_all(Context& context);
  void wait_for_all(Context& context);
  // Lets go of somebody else's memory when what is enqueued now, which may use it, is done.
  void release_later(Context& context, std::shared_ptr<void> owner);
  // Ends the polling, at the end of the process.
  static void stop();

 private:
  void loop();
  // Of one block, or of all; false where a read could not.
  bool let_go(Context& context, const Block* block);

  std::mutex mutex_;
  std::condition_variable work_, change_;
  std::vector<std::unique_ptr<Read>> reads_;
  Read* active_ = nullptr;
  bool started_ = false, stopping_ = false, stopped_ = false;
};

}  // namespace surprisal::cuda
