#include "cuda/reader.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "cuda/error.h"
#include "cuda/graph.h"

namespace surprisal::cuda {
namespace {

// Copies up to this size take less time on the compute stream than the events of another would.
constexpr int64_t kAmongOperations = 256 << 10;
constexpr int kPiecesInFlight = 2;

// A thread that sleeps is woken some 50 us late, so a short wait is spent asking.
driver::Status wait(void* event) {
  using Clock = std::chrono::steady_clock;
  const auto sleep_from = Clock::now() + std::chrono::microseconds(200);
  do {
    const driver::Status status = driver::event_query(event);
    if (status != driver::kNotReady) return status;
  } while (Clock::now() < sleep_from);
  return driver::event_synchronize(event);
}

}  // namespace

Arrivals::~Arrivals() {
  if (!fault.data && pieces.empty()) return;
  const DeviceGuard guard(context);
  // Where that fails, so has the device.
  if (driver::stream_synchronize(stream)) return;
  give_landing(fault);
  std::lock_guard<std::recursive_mutex> lock(context.mutex);
  for (const Piece& piece : pieces) {
    give_landing(piece.landing);
    if (piece.event) context.give_event(piece.event);
  }
}

void Arrivals::enqueue_fault(const Context::FaultCheck& wanted) {
  fault = take_landing(sizeof(Fault));
  if (wanted.needed)
    context.check(driver::copy(fault.data, context.fault_slot(), sizeof(Fault), stream), "read");
}

Fault Arrivals::take_fault() {
  Fault found;
  std::memcpy(&found, fault.data, sizeof(Fault));
  give_landing(fault);
  fault = {};
  return found;
}

void Arrivals::enqueue(const char* from, int64_t offset, int64_t bytes) {
  pieces.push_back({take_landing(bytes), nullptr, offset, bytes});
  Piece& piece = pieces.back();
  if (bytes > 0) context.check(driver::copy(piece.landing.data, from, bytes, stream), "read");
  piece.event = context.record(stream);
}

void Arrivals::take(char* to) {
  const Piece piece = pieces.front();
  pieces.pop_front();
  if (piece.bytes > 0 && to)
    std::memcpy(to + piece.offset, piece.landing.data, static_cast<size_t>(piece.bytes));
  give_landing(piece.landing);
  std::lock_guard<std::recursive_mutex> lock(context.mutex);
  context.give_event(piece.event);
}

void read_now(Context& context, const Block* block, void* to, int64_t bytes) {
  context.expect_alive();
  const DeviceGuard guard(context);
  Arrivals arrivals(context);
  Context::FaultCheck check;
  int64_t enqueued = 0;
  bool first = true;
  while (first || enqueued < bytes || !arrivals.pieces.empty()) {
    while (first || (enqueued < bytes && arrivals.pieces.size() < kPiecesInFlight)) {
      std::lock_guard<std::recursive_mutex> lock(context.mutex);
      if (context.capture) refuse_in_capture("device values cannot be read");
      context.enter();
      arrivals.stream = context.stream();
      if (first) {
        check = context.begin_fault_check();
        arrivals.enqueue_fault(check);
      }
      first = false;
      const int64_t piece = std::min(bytes - enqueued, kLargestLanding);
      const auto* from = block ? static_cast<const char*>(block->data) + enqueued : nullptr;
      arrivals.enqueue(from, enqueued, piece);
      enqueued += piece;
    }
    context.check(wait(arrivals.pieces.front().event), "read");
    arrivals.take(static_cast<char*>(to));
  }
  const Fault found = arrivals.take_fault();
  std::lock_guard<std::recursive_mutex> lock(context.mutex);
  context.end_fault_check(check, found);
}

// -------------------------------------------------------------------------------------------------

Read::Read(Context& context, std::shared_ptr<Block> block, void* to, int64_t bytes, void* owner,
           Done done, bool looks_for_faults)
    : context_(context),
      block_(std::move(block)),
      to_(static_cast<char*>(to)),
      bytes_(bytes),
      owner_(owner),
      done_(std::move(done)),
      arrivals_(context) {
  context_.expect_alive();
  const Entered entered(context_);
  if (context_.capture) refuse_in_capture("device values cannot be read");
  void*& stream = arrivals_.stream;
  stream = bytes_ <= kAmongOperations ? context_.stream() : context_.read_stream();
  if (stream != context_.stream()) context_.order(context_.stream(), stream);
  if (looks_for_faults) check_ = context_.begin_fault_check();
  arrivals_.enqueue_fault(check_);
  for (int i = 0; i == 0 || (i < kPiecesInFlight && enqueued_ < bytes_); ++i) enqueue_piece();
  counted_ = block_ && stream != context_.stream();
  if (counted_) {
    ++block_->readers;
    context_.reading.push_back(this);
  }
  ++context_.reads;
}

Read::~Read() {
  {
    std::lock_guard<std::recursive_mutex> lock(context_.mutex);
    leave_block();
  }
  --context_.reads;
}

void Read::leave_block() {
  if (!counted_) return;
  counted_ = false;
  auto& all = context_.reading;
  all.erase(std::find(all.begin(), all.end(), this));
  --block_->readers;
}

bool Read::let_go() {
  if (!counted_) return true;
  const int64_t left = bytes_ - enqueued_;
  std::shared_ptr<Block> rest;
  if (left > 0) {
    rest = context_.allocate_at_once(left);
    if (!rest) return false;
  }
  // Also of the rest's memory, whose last user may be a copy to the host.
  context_.order(arrivals_.stream, context_.stream());
  if (left > 0) {
    context_.check(driver::copy(rest->data, static_cast<char*>(block_->data) + enqueued_, left,
                                context_.stream()),
                   "read");
    context_.order(context_.stream(), arrivals_.stream);
    rest_from_ = enqueued_;
    rest_ = std::move(rest);
  }
  leave_block();
  return true;
}

void Read::enqueue_piece() {
  const int64_t bytes = std::min(bytes_ - enqueued_, kLargestLanding);
  const Block* block = rest_ ? rest_.get() : block_.get();
  const int64_t skipped = rest_ ? rest_from_ : 0;
  const char* from = block ? static_cast<char*>(block->data) + enqueued_ - skipped : nullptr;
  arrivals_.enqueue(from, enqueued_, bytes);
  enqueued_ += bytes;
}

bool Read::poll() {
  progressed = false;
  try {
    const DeviceGuard guard(context_);
    while (!arrivals_.pieces.empty()) {
      const driver::Status status = driver::event_query(arrivals_.pieces.front().event);
      if (status == driver::kNotReady) return false;
      context_.check(status, "read");
      progressed = true;
      arrivals_.take(abandoned_ ? nullptr : to_);
      std::lock_guard<std::recursive_mutex> lock(context_.mutex);
      if (enqueued_ < bytes_) enqueue_piece();
    }
    const Fault found = arrivals_.take_fault();
    std::lock_guard<std::recursive_mutex> lock(context_.mutex);
    context_.end_fault_check(check_, found);
    finish(nullptr);
  } catch (...) {
    finish(std::current_exception());
  }
  return true;
}

void Read::finish(std::exception_ptr error) {
  progressed = true;
  {
    // Before anybody hears of the end: who then uses the block has nothing to wait for.
    std::lock_guard<std::recursive_mutex> lock(context_.mutex);
    leave_block();
  }
  if (!abandoned_) done_(error);
}

// -------------------------------------------------------------------------------------------------

Reader& Reader::instance() {
  static auto* instance = new Reader;  // its thread outlives static destruction
  return *instance;
}

void Reader::add(std::unique_ptr<Read> read) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!started_) {
    std::thread([this] { loop(); }).detach();
    started_ = true;
  }
  reads_.push_back(std::move(read));
  work_.notify_one();
}

void Reader::drain(void* owner) {
  std::unique_lock<std::mutex> lock(mutex_);
  for (auto& read : reads_)
    if (read->owner() == owner) read->abandon();
  change_.wait(lock, [&] { return !active_ || active_->owner() != owner; });
}

void Reader::let_go_of(Block& block) {
  if (block.context.is_poisoned()) return;  // which the operation is told
  if (let_go(block.context, &block)) return;
  std::unique_lock<std::mutex> lock(mutex_);
  change_.wait(lock, [&] { return block.readers == 0; });
}

void Reader::let_go_of_all(Context& context) {
  if (!let_go(context, nullptr)) wait_for_all(context);
}

bool Reader::let_go(Context& context, const Block* block) {
  const Entered entered(context);
  const std::vector<Read*> all = context.reading;
  bool all_gone = true;
  for (Read* read : all)
    if (!block || read->block() == block) all_gone &= read->let_go();
  return all_gone;
}

void Reader::wait_for_all(Context& context) {
  std::unique_lock<std::mutex> lock(mutex_);
  change_.wait(lock, [&] { return context.reads == 0; });
}

void Reader::release_later(Context& context, std::shared_ptr<void> owner) {
  if (context.is_poisoned()) return;
  {
    std::lock_guard<std::recursive_mutex> lock(context.mutex);
    if (context.capture) return context.capture->keep(std::move(owner));
  }
  try {
    add(std::make_unique<Read>(
        context, nullptr, nullptr, 0, nullptr, [owner](std::exception_ptr) {}, false));
  } catch (...) {
    // The device has failed: nothing runs any more.
  }
}

void Reader::stop() {
  Reader& reader = instance();
  std::unique_lock<std::mutex> lock(reader.mutex_);
  if (!reader.started_) return;
  reader.stopping_ = true;
  reader.work_.notify_one();
  // Not for ever: a device that hangs must not keep the process.
  reader.change_.wait_for(lock, std::chrono::seconds(2), [&] { return reader.stopped_; });
}

void Reader::loop() {
  using std::chrono::microseconds;
  constexpr microseconds kShortest{20}, kLongest{200};
  microseconds pause = kShortest;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    work_.wait(lock, [&] { return stopping_ || !reads_.empty(); });
    bool progressed = false;
    for (size_t i = 0; i < reads_.size() && !stopping_;) {
      active_ = reads_[i].get();
      lock.unlock();
      const bool finished = active_->poll();
      lock.lock();
      progressed |= active_->progressed;
      active_ = nullptr;
      if (finished) {
        std::unique_ptr<Read> over = std::move(reads_[i]);
        reads_.erase(reads_.begin() + static_cast<std::ptrdiff_t>(i));
        // It may hold the last of a memory, whose owner is then let go of through this queue.
        lock.unlock();
        over = nullptr;
        lock.lock();
      } else {
        ++i;
      }
      change_.notify_all();
    }
    if (stopping_) break;
    pause = progressed ? kShortest : std::min(pause * 2, kLongest);
    if (!reads_.empty() && !progressed) work_.wait_for(lock, pause);
  }
  stopped_ = true;
  change_.notify_all();
}

}  // namespace surprisal::cuda
