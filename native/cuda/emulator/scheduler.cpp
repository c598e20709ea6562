#include "cuda/emulator/scheduler.h"

#include <algorithm>
#include <numeric>

#include "core/check.h"

namespace surprisal::cuda::emulator {
namespace {

constexpr int kResidentThreads = 4096;  // more clusters run at once only up to here

}  // namespace

__thread Thread* current = nullptr;
__thread Machine* active = nullptr;

void run_here(const Launch& launch) {
  static thread_local Machine instance;
  active = &instance;
  instance.run(launch);
}

Machine::Machine() : fibers_(&Machine::enter) {}

void Machine::run(const Launch& launch) {
  launch_ = launch;
  random_ = Random(launch.seed * 0xd1342543de82ef95 + 1);
  const Shape& shape = launch.shape;
  count_ = shape.blocks / shape.cluster;
  admitted_ = ended_ = 0;
  stride_ = 1;
  offset_ = 0;
  residents_ = 1;
  engine_.clear();
  laziness_ = 0;
  if (shuffles()) {
    const uint64_t laziness[] = {0, 1, 8, 200};  // 0: only when nobody can go on without
    laziness_ = laziness[random_.below(4)];
    const int room = std::max(1, kResidentThreads / (shape.threads * shape.cluster));
    residents_ = 1 + static_cast<int>(random_.below(static_cast<uint64_t>(std::min(room, 4))));
    stride_ = 1 + static_cast<int64_t>(random_.below(static_cast<uint64_t>(count_)));
    while (std::gcd(stride_, count_) != 1) stride_++;
    offset_ = static_cast<int64_t>(random_.below(static_cast<uint64_t>(count_)));
  }
  if (shape.together) residents_ = static_cast<int>(count_);
  if (static_cast<int>(clusters_.size()) < residents_) {
    clusters_ = std::vector<Cluster>(static_cast<size_t>(residents_));
  }
  for (Cluster& cluster : clusters_) cluster.resident = false;
  ready_.clear();
  frozen_picks_ = 0;
  frozen_block_ = nullptr;
  error_ = nullptr;
  idle_yields_ = 0;
  launch_begin_ = watch();
  admit();
  if (Thread* first = pick()) {
    current = first;
    first->fiber = fibers_.take();
    Fiber::change(host_, *first->fiber);
  }
  current = nullptr;
  unwatch();
  if (error_) {
    abandon();
    std::rethrow_exception(error_);
  }
}

// --- clusters ------------------------------------------------------------------------------------

// In random order, but each once: an affine map of 0..count_-1 onto itself.
int64_t Machine::cluster_number(int64_t n) const {
  return static_cast<int64_t>((static_cast<__int128>(n) * stride_ + offset_) % count_);
}

void Machine::admit() {
  for (int i = 0; i < residents_ && admitted_ < count_; i++) {
    Cluster& cluster = clusters_[static_cast<size_t>(i)];
    if (!cluster.resident) {
      place(cluster, cluster_number(admitted_++) * launch_.shape.cluster);
    }
  }
}

void Machine::place(Cluster& cluster, int64_t first_block) {
  const Shape& shape = launch_.shape;
  const auto threads = static_cast<size_t>(shape.threads);
  const uint32_t begin = advance();
  cluster.resident = true;
  cluster.finished = 0;
  cluster.barrier.waiting.clear();
  while (static_cast<int>(cluster.blocks.size()) < shape.cluster) {
    cluster.blocks.push_back(std::make_unique<Block>());
  }
  for (int rank = 0; rank < shape.cluster; rank++) {
    Block& block = *cluster.blocks[static_cast<size_t>(rank)];
    block.launch = &launch_;
    block.cluster = &cluster;
    block.index = first_block + rank;
    block.rank = rank;
    block.finished = 0;
    block.shared.open(shape.shared);
    for (Rendezvous& barrier : block.barriers) barrier.waiting.clear();
    block.mbarriers.clear();
    block.groups.clear();
    block.groups.resize((threads + 127) / 128);
    block.warps.resize((threads + 31) / 32);
    for (size_t w = 0; w < block.warps.size(); w++) {
      Warp& warp = block.warps[w];
      warp.waiting.clear();
      warp.exchange = 0;
      warp.finished = 0;
      warp.lanes = static_cast<int>(std::min<size_t>(32, threads - 32 * w));
    }
    block.threads.assign(threads, Thread{});
    for (size_t t = 0; t < threads; t++) {
      block.threads[t].block = &block;
      block.threads[t].index = static_cast<int>(t);
      block.threads[t].actor =
          actor_for(block.index, static_cast<int>(t), shape.cluster, launch_begin_, begin);
    }
  }
  for (int rank = shape.cluster; rank-- > 0;) {
    Block& block = *cluster.blocks[static_cast<size_t>(rank)];
    for (size_t t = threads; t-- > 0;) ready_.push_back(&block.threads[t]);
  }
}

// --- who runs next -------------------------------------------------------------------------------

// The last made ready goes first, so that a warp goes on as far as it can and its stacks stay in
// the cache.
Thread* Machine::take_in_order() {
  Thread* thread = ready_.back();
  ready_.pop_back();
  return thread;
}

bool Machine::frozen(const Thread* thread) const {
  return thread->block == frozen_block_ && thread->index >= frozen_begin_ &&
         thread->index < frozen_end_;
}

// Picks a warp, a warpgroup or a block of those that are ready, to leave it alone for some time.
void Machine::freeze() {
  const Thread* thread = ready_[random_.below(ready_.size())];
  const int sizes[] = {32, 128, 1024};
  const int size = sizes[random_.below(3)];
  frozen_block_ = random_.below(4) == 0 ? nullptr : thread->block;
  frozen_begin_ = thread->index / size * size;
  frozen_end_ = frozen_begin_ + size;
  frozen_picks_ = static_cast<int>(random_.below(2000));
}

Thread* Machine::take_at_random() {
  if (--frozen_picks_ < 0) freeze();
  size_t i = random_.below(ready_.size());
  for (int tries = 0; frozen(ready_[i]); tries++) {
    if (tries == 16) {
      frozen_block_ = nullptr;  // nearly everybody else waits for them
      break;
    }
    i = random_.below(ready_.size());
  }
  Thread* thread = ready_[i];
  ready_[i] = ready_.back();
  ready_.pop_back();
  return thread;
}

// Null when the launch is over.
Thread* Machine::pick() {
  if (laziness_ && !engine_.empty() && random_.below(laziness_) == 0) {
    engine_.step(random_);
  }
  while (ready_.empty()) {
    if (engine_.step_for_waiters()) continue;
    if (ended_ == count_) {
      engine_.drain();
      return nullptr;
    }
    deadlock();
  }
  return shuffles() ? take_at_random() : take_in_order();
}

void Machine::resume(Thread* next) {
  Thread* self = current;
  if (next == self) return;
  current = next;
  if (!next->fiber) next->fiber = fibers_.take();
  Fiber::change(*self->fiber, *next->fiber);
}

void Machine::wait(const char* waits_for, Site site) {
  current->waits_for = waits_for;
  current->site = site;
  resume(pick());
  current->waits_for = nullptr;
}

void Machine::yield(const char* waits_for, Site site) {
  if (++idle_yields_ > 64 * static_cast<int64_t>(ready_.size() + 64)) deadlock();
  ready_.insert(shuffles() ? ready_.end() : ready_.begin(), current);
  wait(waits_for, site);
}

void Machine::wake(Thread* thread) {
  idle_yields_ = 0;
  ready_.push_back(thread);
}

void Machine::wake(std::vector<Thread*>& threads) {
  idle_yields_ = 0;
  ready_.insert(ready_.end(), threads.rbegin(), threads.rend());
  threads.clear();
}

void Machine::deadlock() {
  std::string who;
  int64_t waiting = 0;
  for (const Cluster& cluster : clusters_) {
    if (!cluster.resident) continue;
    for (int rank = 0; rank < launch_.shape.cluster; rank++) {
      for (const Thread& thread : cluster.blocks[static_cast<size_t>(rank)]->threads) {
        if (thread.finished || !thread.waits_for) continue;
        if (waiting++ >= 3) continue;
        who += "; block " + std::to_string(thread.block->index) + ", thread " +
               std::to_string(thread.index) + " in " + thread.waits_for;
        if (thread.site.file) {
          who +=
              " (" + std::string(thread.site.file) + ":" + std::to_string(thread.site.line) + ")";
        }
      }
    }
  }
  stop("deadlock: " + std::to_string(waiting) + " threads wait" + who, {nullptr, 0});
}

// --- fibers --------------------------------------------------------------------------------------

void Machine::enter() {
  Fiber::entered();
  active->run_threads();
}

// One fiber runs threads to their ends one after the other, as long as they have not begun
// elsewhere: a thread that never waits costs no switch.
void Machine::run_threads() {
  for (;;) {
    Thread* self = current;
    Fiber* fiber = self->fiber;
    Thread* next = nullptr;
    try {
      launch_.emulate(launch_.kernel, launch_.arguments);
      finish(self);
      next = pick();
    } catch (...) {
      error_ = std::current_exception();
    }
    if (error_ || !next) {
      if (!error_) {
        self->fiber = nullptr;
        fibers_.give(fiber);
      }
      Fiber::change(*fiber, host_);
    } else if (!next->fiber) {
      self->fiber = nullptr;
      next->fiber = fiber;
      current = next;
    } else {
      self->fiber = nullptr;
      fibers_.give(fiber);
      current = next;
      Fiber::change(*fiber, *next->fiber);
    }
  }
}

// Shared memory goes to another block now.
void Machine::check_ended(const Block& block) {
  if (engine_.empty() && block.mbarriers.empty()) return;
  if (const Copy* copy = engine_.user_of(block)) {
    stop("the block ends while an asynchronous copy still uses its shared memory", copy->site);
  }
  for (const Mbarrier& b : block.mbarriers) {
    if (b.bytes != 0) {
      stop("the block ends while an mbarrier still expects " + std::to_string(b.bytes) + " bytes",
           {nullptr, 0});
    }
  }
}

void Machine::finish(Thread* thread) {
  idle_yields_ = 0;
  thread->finished = true;
  thread->waits_for = nullptr;
  Block& block = *thread->block;
  Warp& warp = block.warps[static_cast<size_t>(thread->index / 32)];
  warp.finished++;
  block.finished++;
  Cluster& cluster = *block.cluster;
  if (!block.barriers[0].waiting.empty()) {
    stop("divergent barrier: the thread ends while others of its block wait in sync_threads",
         block.barriers[0].site);
  }
  if (!warp.waiting.empty()) {
    stop(
        std::string("divergent warp: the thread ends while lanes of its warp wait in ") + warp.kind,
        warp.waiting[0]->site);
  }
  if (!cluster.barrier.waiting.empty()) {
    stop("divergent barrier: the thread ends while others of its cluster wait in sync_cluster",
         cluster.barrier.site);
  }
  if (block.finished == launch_.shape.threads) check_ended(block);
  if (++cluster.finished == launch_.shape.threads * launch_.shape.cluster) {
    cluster.resident = false;
    ended_++;
    admit();
  }
}

// After an error: the fibers stop where they are. Kernels hold nothing that needs a destructor.
void Machine::abandon() {
  for (Cluster& cluster : clusters_) {
    for (auto& block : cluster.blocks) {
      for (Thread& thread : block->threads) {
        if (!thread.fiber) continue;
        thread.fiber->reset();
        fibers_.give(thread.fiber);
        thread.fiber = nullptr;
      }
    }
  }
}

}  // namespace surprisal::cuda::emulator
