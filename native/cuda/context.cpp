#include "cuda/context.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "cuda/error.h"
#include "cuda/graph.h"
#include "cuda/reader.h"

namespace surprisal::cuda {
namespace {

constexpr int kMostDevices = 64;

struct Registry {
  std::mutex mutex;
  std::array<std::atomic<Context*>, kMostDevices> by_device{};
  std::vector<Context*> all;
};
Registry& registry() {
  static auto* instance = new Registry;
  return *instance;
}

// Streams that callers of this thread have asked for; null is a stream of CUDA's, too.
struct Chosen {
  bool given = false;
  void* stream = nullptr;
};
thread_local Chosen chosen[kMostDevices];

}  // namespace

Context& Context::of(int device) {
  Registry& r = registry();
  require(device >= 0 && device < kMostDevices, "cuda: no such device");
  if (Context* known = r.by_device[device].load(std::memory_order_acquire)) return *known;
  std::lock_guard<std::mutex> lock(r.mutex);
  if (Context* known = r.by_device[device].load()) return *known;
  const driver::Versions versions = driver::versions();
  const std::string reason = missing_reason(versions);
  if (!reason.empty()) throw Error(Code::invalid_value, "cuda: no device can be used: " + reason);
  if (device >= versions.devices)
    throw Error(Code::invalid_value, "cuda: there is no " + device_name(device));
  auto* context = new Context(device);
  r.by_device[device].store(context, std::memory_order_release);
  r.all.push_back(context);
  return *context;
}

std::vector<Context*> Context::all() {
  Registry& r = registry();
  std::lock_guard<std::mutex> lock(r.mutex);
  return r.all;
}

Context::Context(int index) : device(index), pool_(std::make_shared<Pool>(*this, !wants_exact())) {
  const DeviceGuard guard(*this);
  check(driver::properties(device, properties), "properties");
  LoadedCode code;
  if (const driver::Status status = driver::loaded_code(code)) {
    const std::string why = missing_code(driver::built_for(), properties.name, properties.arch);
    throw Error(Code::invalid_value, "cuda: " + device_name(device) + " cannot be used: " +
                                         (why.empty() ? describe(status) : why));
  }
  properties.arch = planned_arch(code);
  for (void** stream : {&own_stream_, &upload_stream_, &read_stream_})
    check(driver::stream_create(stream), "streams");
  current_ = own_stream_;
  check(driver::pool_create(device, &pool_handle_), "memory pool");
  void* slot = nullptr;
  check(driver::allocate(&slot, sizeof(Fault), pool_handle_, current_), "fault record");
  fault_slot_ = static_cast<Fault*>(slot);
  check(driver::fill(fault_slot_, 0, sizeof(Fault), current_), "fault record");
  operations = make_stream(*this);
  // Before the driver's own end, so that nobody polls a driver that is going away.
  static const bool registered = (std::atexit(Reader::stop), true);
  static_cast<void>(registered);
}

// --- faults of the device ------------------------------------------------------------------------

// An invalid handle is that of a stream which somebody else has destroyed, or all of ours have gone
// with a reset of the device.
bool Context::is_lost(driver::Status status) const {
  if (status != driver::kInvalidHandle) return is_sticky(status);
  const driver::Status ours = upload_stream_ ? driver::stream_query(upload_stream_) : 0;
  return ours != 0 && ours != driver::kNotReady;
}

void Context::check(driver::Status status, const char* what) {
  if (status == 0) return;
  if (!is_lost(status))
    throw Error(Code::internal, "cuda: " + std::string(what) + ": " + describe(status));
  static std::mutex mutex;
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (!poisoned_) {
      poison_ = device_name(device) + " has failed and is lost to this process, with all tensors " +
                "on it: " + describe(status) + "; restart the process";
      poisoned_ = true;
    }
  }
  expect_alive();
}

void Context::expect_alive() const {
  if (poisoned_) throw Error(Code::internal, poison_);
}

// --- streams -------------------------------------------------------------------------------------

// A capture records the compute stream, where an allocation would become part of the graph.
void* Context::memory_stream() const { return capture ? upload_stream_ : current_; }

void* Context::stream_of(const Pool& pool) const {
  return capture && capture->pool.get() != &pool ? upload_stream_ : current_;
}

void* Context::stream_here() const {
  return chosen[device].given ? chosen[device].stream : own_stream_;
}

void Context::enter() {
  void* next = stream_here();
  if (next == current_ || capture) return;
  try {
    order(current_, next);
  } catch (const Error&) {
    // What a stream has not done when somebody destroys it nobody can wait for.
    if (poisoned_ || driver::stream_query(current_) != driver::kInvalidHandle) throw;
  }
  current_ = next;
}

void Context::follow_caller() noexcept {
  try {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    if (stream_here() == current_ || poisoned_) return;
    const DeviceGuard guard(*this);
    enter();
  } catch (const Error&) {
    // The stream has gone, or the device.
  }
}

void Context::set_stream(void* stream) {
  if (capture) refuse_in_capture("the stream cannot be changed");
  const auto refuse = [&](const std::string& why) {
    throw Error(Code::invalid_value, "cuda: no stream of " + device_name(device) + ": " + why);
  };
  if (reinterpret_cast<uintptr_t>(stream) == 2)
    refuse("cudaStreamPerThread is another one on each thread");
  int of = device;
  const driver::Status status = driver::stream_device(stream, &of);
  // A handle that is none of this device says nothing about the device itself.
  if (status) refuse(describe(status));
  if (of != device) refuse("it is one of " + device_name(of));
  const Chosen before = chosen[device];
  chosen[device] = {stream != own_stream_, stream};
  try {
    enter();
  } catch (...) {
    chosen[device] = before;
    throw;
  }
}

void Context::forget_streams() {
  for (Context* context : all()) {
    if (!chosen[context->device].given) continue;
    chosen[context->device] = {};
    try {
      const Entered entered(*context);
    } catch (const Error&) {
      // Nobody is left to tell.
    }
  }
}

void* Context::record(void* stream) {
  void* event = nullptr;
  if (events_.empty()) {
    check(driver::event_create(&event), "event");
  } else {
    event = events_.back();
    events_.pop_back();
  }
  const driver::Status status = driver::event_record(event, stream);
  if (status) give_event(event);
  check(status, "event");
  return event;
}

// The event may be recorded anew at once: a wait is for the record that came before it.
void Context::order(void* earlier, void* later) {
  void* event = record(earlier);
  const driver::Status status = driver::stream_wait(later, event);
  give_event(event);
  check(status, "streams");
}

// --- memory --------------------------------------------------------------------------------------

driver::Status Context::try_allocate(int64_t bytes, Pool& pool, void** out) {
  driver::Status status = pool.take(bytes, out);
  if (status != driver::kOutOfMemory) return status;
  // What waits for reuse in other sizes goes back, but not that of a graph, whose addresses are
  // recorded. The driver has it when the work that used it is done.
  if (arena_.used() == 0) arena_.release();
  pool_->release_cached();
  uploads.release();
  driver::stream_synchronize(memory_stream());
  driver::pool_trim(pool_handle_);
  return pool.take(bytes, out);
}

std::shared_ptr<Block> Context::allocate(int64_t bytes, bool counted) {
  // More than any device has, and rounding up to a size class would overflow.
  constexpr int64_t kTooMuch = int64_t{1} << 60;
  const std::shared_ptr<Pool>& pool = capture ? capture->pool : pool_;
  void* data = nullptr;
  const driver::Status status =
      bytes > kTooMuch ? driver::kOutOfMemory : try_allocate(bytes, *pool, &data);
  if (status == driver::kOutOfMemory) {
    int64_t free = 0, total = 0;
    driver::memory_info(&free, &total);
    throw OutOfMemory("out of memory: requested " + std::to_string(bytes) + " bytes on " +
                          device_name(device) + ", " + std::to_string(free) + " of " +
                          std::to_string(total) + " free",
                      bytes, free, total);
  }
  check(status, "allocate");
  if (counted) {
    live += bytes;
    peak = std::max(peak, live);
  }
  return std::make_shared<Block>(*this, pool, data, bytes, counted);
}

std::shared_ptr<Block> Context::allocate_at_once(int64_t bytes) {
  void* data = nullptr;
  const driver::Status status = pool_->take(bytes, &data);
  if (status == driver::kOutOfMemory) return nullptr;
  check(status, "allocate");
  return std::make_shared<Block>(*this, pool_, data, bytes, false);
}

MemoryUse Context::memory_use(bool reset_peak) {
  MemoryUse use{};
  use.live = live;
  use.peak = peak;
  use.reserved = reserved;
  use.recycled = pool_->cached();
  use.scratch = arena_.used();
  use.scratch_peak = arena_.peak(reset_peak);
  if (reset_peak) peak = live;
  check(driver::memory_info(&use.free, &use.total), "memory");
  return use;
}

void Context::trim() {
  if (capture) refuse_in_capture("memory cannot be trimmed");
  arena_.release();
  pool_->release_cached();
  uploads.release();
  check(driver::stream_synchronize(current_), "trim");
  check(driver::pool_trim(pool_handle_), "trim");
}

void Context::limit_recycled(int64_t bytes) {
  pool_->limit(bytes);
  if (pool_->cached() > bytes) pool_->release_cached();
  check(driver::pool_keep(pool_handle_, bytes), "recycled memory");
}

void Context::share_with(int other) {
  const uint64_t bit = uint64_t{1} << other;
  if (shared_with_ & bit) return;
  shared_with_ |= bit;
  driver::pool_share(pool_handle_, other);  // without it the driver goes through the host
}

Arena& Context::arena() { return capture ? capture->arena : arena_; }

// --- faults of values ----------------------------------------------------------------------------

FaultSite Context::fault_site(void (*raise)(const Fault&)) {
  ++sites_;
  return {fault_slot_, reinterpret_cast<uint64_t>(raise), ++sequence_};
}

Context::FaultCheck Context::begin_fault_check() { return {sites_, ++issue_, sites_ > checked_}; }

void Context::end_fault_check(const FaultCheck& check_, const Fault& fault) {
  if (!check_.needed) return;
  if (fault.raise == 0) {
    checked_ = std::max(checked_, check_.sites);
    return;
  }
  // A read that was enqueued before the record was cleared sees the same fault: it fails too, but
  // must not clear what later kernels have found.
  if (check_.issue > cleared_at_) {
    check(driver::fill(fault_slot_, 0, sizeof(Fault), current_), "fault record");
    cleared_at_ = ++issue_;
  }
  reinterpret_cast<void (*)(const Fault&)>(fault.raise)(fault);
}

// -------------------------------------------------------------------------------------------------

DeviceGuard::DeviceGuard(Context& context) {
  int now = -1;
  driver::current_device(&now);
  if (now == context.device) return;
  previous_ = now;
  driver::use_device(context.device);
}

DeviceGuard::~DeviceGuard() {
  if (previous_ >= 0) driver::use_device(previous_);
}

}  // namespace surprisal::cuda
