// Everything of one device: its streams, memory, faults and the graph it is capturing. Contexts are
// made on first use and live as long as the process, because threads of CUDA and of ours still run
// when statics are destroyed. Worker threads share them: `mutex` is held around every call that
// enqueues. Only waits for the device happen without it.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/arena.h"
#include "cuda/driver.h"
#include "cuda/pool.h"
#include "cuda/runtime.h"
#include "cuda/staging.h"

namespace surprisal::cuda {

class Graph;
class Read;

struct MemoryUse {
  int64_t live, peak, reserved, recycled, scratch, scratch_peak, free, total;
};

class Context {
 public:
  // Throws where the device cannot be used.
  static Context& of(int device);
  static std::vector<Context*> all();

  const int device;
  Properties properties;  // `arch` is that of the code which runs here: what plans may count on
  std::recursive_mutex mutex;

  // Throws Error for a status that is not 0. A sticky one poisons the device.
  void check(driver::Status status, const char* what);
  // Throws where the device is poisoned. Needs no lock.
  void expect_alive() const;
  bool is_poisoned() const { return poisoned_.load(); }

  // --- streams ---
  void* stream() const { return current_; }  // where what is enqueued now goes
  // That of the calling thread's work: its caller's, or our own.
  void* stream_here() const;
  // Goes over to the calling thread's stream. Work of all streams stays in one order, in which
  // memory that was freed is used again.
  void enter();
  // What the calling thread's stream has got or waits for without our knowing, from a library that
  // knows its pointers, goes before what is enqueued from here on: a thread says so before it frees
  // what others may have used. Never throws.
  void follow_caller() noexcept;
  void* own_stream() const { return own_stream_; }
  void* memory_stream() const;  // where the driver allocates and frees
  // Where a pool's memory changes hands. While a graph is captured only that of its own pool does
  // so in the graph: replays would take any other from whoever has it then.
  void* stream_of(const Pool& pool) const;
  void* memory_pool() const { return pool_handle_; }
  void* upload_stream() const { return upload_stream_; }
  void* read_stream() const { return read_stream_; }
  // The caller's stream for what this thread enqueues from here on.
  void set_stream(void* stream);
  // This thread's environment ends: its work goes to streams of nobody any more.
  static void forget_streams();
  // An event of the pool, recorded on a stream.
  void* record(void* stream);
  void give_event(void* event) { events_.push_back(event); }
  // Lets `later` go on when what is on `earlier` now is done.
  void order(void* earlier, void* later);

  // --- memory ---
  // Tries the cache, the driver, then once more with the cache given back, then throws OutOfMemory.
  std::shared_ptr<Block> allocate(int64_t bytes, bool counted);
  // The same if nothing need be given back or waited for; else null.
  std::shared_ptr<Block> allocate_at_once(int64_t bytes);
  MemoryUse memory_use(bool reset_peak);
  void trim();
  // What is freed beyond this goes back to the driver, and from there to others at the next wait:
  // the driver is told the same bound, as it would keep what it gets otherwise.
  void limit_recycled(int64_t bytes);
  // Copies to `device` go directly from here on, where the two are connected.
  void share_with(int device);
  int64_t reserved = 0;  // from the driver by all pools, in use or not
  int64_t live = 0, peak = 0;
  Arena& arena();
  Uploads uploads{*this};

  // --- faults ---
  FaultSite fault_site(void (*raise)(const Fault&));
  // What a reader must do about faults: copy them along if any kernel could have left one.
  struct FaultCheck {
    uint64_t sites = 0, issue = 0;
    bool needed = false;
  };
  FaultCheck begin_fault_check();
  const Fault* fault_slot() const { return fault_slot_; }
  // Throws the fault's Error; clears it on the device the first time it is seen.
  void end_fault_check(const FaultCheck& check, const Fault& fault);
  // A replayed graph may fault like the kernels that it holds.
  void expect_faults() { ++sites_; }

  std::atomic<int> reads{0};           // reads with a promise that are on their way
  std::vector<Read*> reading;          // those that copy from memory of operations
  std::shared_ptr<Graph> capture;      // being recorded
  std::atomic<bool> capturing{false};  // the same, to ask without the lock
  std::unique_ptr<Stream> operations;  // what operations get

 private:
  explicit Context(int device);
  bool is_lost(driver::Status status) const;
  driver::Status try_allocate(int64_t bytes, Pool& pool, void** out);

  void *own_stream_ = nullptr, *current_ = nullptr;
  void *upload_stream_ = nullptr, *read_stream_ = nullptr;
  void* pool_handle_ = nullptr;
  std::shared_ptr<Pool> pool_;
  Arena arena_{*this};
  std::vector<void*> events_;
  uint64_t shared_with_ = 0;  // a bit a device
  Fault* fault_slot_ = nullptr;
  uint64_t sites_ = 0, checked_ = 0, sequence_ = 0, issue_ = 0, cleared_at_ = 0;
  std::atomic<bool> poisoned_{false};
  std::string poison_;  // written once, before poisoned_
};

std::unique_ptr<Stream> make_stream(Context& context);
// Where the last operation of this thread was to run, if it found no scratch memory before it had
// done anything: it can be called again, even if it adds to what is there. Else -1.
int repeatable_device();

// Makes a device current on this thread while it lives. A failure shows in the calls that follow.
class DeviceGuard {
 public:
  explicit DeviceGuard(Context& context);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int previous_ = -1;
};

// Guard and lock together, on the thread's stream: what every entry from JavaScript holds.
struct Entered {
  explicit Entered(Context& context) : guard(context), lock(context.mutex) { context.enter(); }
  DeviceGuard guard;
  std::lock_guard<std::recursive_mutex> lock;
};

}  // namespace surprisal::cuda
