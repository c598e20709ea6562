// A pool of N-1 workers and a list of open jobs. A job hands out pieces through one atomic counter;
// a worker that finds no open job spins briefly (a wake-up costs 30-50 us on a virtual machine)
// and then sleeps. Workers are detached: they hold no resource that outlives the process.
#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace surprisal {
namespace {

thread_local bool inside_job = false;

struct Job {
  std::atomic<uint64_t> processors{0};  // those its threads began on
  int64_t n, piece;
  detail::Body body;
  void* context;
  std::atomic<int64_t> next{0};
  int helpers = 0;  // workers inside this job, guarded by Pool::mutex_
  int max_helpers = 0;
  std::mutex error_mutex;
  std::exception_ptr error;

  void work() {
    inside_job = true;
    for (;;) {
      const int64_t begin = next.fetch_add(piece, std::memory_order_relaxed);
      if (begin >= n) break;
      try {
        body(context, begin, std::min(n, begin + piece));
      } catch (...) {
        std::lock_guard<std::mutex> lock(error_mutex);
        if (!error) error = std::current_exception();
        next.store(n, std::memory_order_relaxed);
      }
    }
    inside_job = false;
  }
  bool open() const { return next.load(std::memory_order_relaxed) < n; }
};

// Linux guests that pack their processors wake a worker on its submitter's and leave both there
// for tens of milliseconds: most kernels are shorter. A worker that comes second moves away.
void spread(Job& job) {
#if defined(__linux__)
  const int here = sched_getcpu();
  if (here < 0 || here >= 64) return;
  const uint64_t taken = job.processors.fetch_or(uint64_t{1} << here);
  if (!(taken >> here & 1)) return;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  cpu_set_t others = allowed;
  for (int i = 0; i < 64; ++i)
    if (taken >> i & 1) CPU_CLR(i, &others);
  if (CPU_COUNT(&others) == 0) return;
  sched_setaffinity(0, sizeof others, &others);
  sched_setaffinity(0, sizeof allowed, &allowed);
  job.processors.fetch_or(uint64_t{1} << (sched_getcpu() & 63));
#else
  (void)job;
#endif
}

int hardware_threads() {
#if defined(__linux__)
  // Respects taskset and cpusets, which hardware_concurrency does not always do.
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

class Pool {
 public:
  int threads() const { return threads_.load(std::memory_order_relaxed); }
  void set_threads(int n) { threads_.store(std::clamp(n, 1, kMaxThreads)); }

  void run(Job& job) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      grow(threads() - 1);
      jobs_.push_back(&job);
    }
    open_jobs_.fetch_add(1, std::memory_order_release);
    if (sleepers_.load() > 0) wake_.notify_all();
    spread(job);
    job.work();
    std::unique_lock<std::mutex> lock(mutex_);
    // From here no worker can enter the job; those inside still run pieces of it.
    jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
    open_jobs_.fetch_sub(1, std::memory_order_release);
    while (job.helpers > 0) {
      lock.unlock();
      for (int spin = 0; spin < 2000 && helpers_of(job) > 0; ++spin) pause();
      lock.lock();
      if (job.helpers > 0) done_.wait_for(lock, std::chrono::milliseconds(1));
    }
  }

 private:
  static constexpr int kMaxThreads = 256;

  static void pause() {
#if defined(__x86_64__)
    _mm_pause();
#else
    std::this_thread::yield();
#endif
  }

  int helpers_of(Job& job) {
    std::lock_guard<std::mutex> lock(mutex_);
    return job.helpers;
  }

  void grow(int workers) {
    try {
      for (; started_ < workers; ++started_) std::thread([this] { loop(); }).detach();
    } catch (const std::system_error&) {
      // The machine gives no more threads: those that are there do the work.
    }
  }

  Job* enter() {
    std::lock_guard<std::mutex> lock(mutex_);
    for (Job* job : jobs_) {
      if (job->open() && job->helpers < job->max_helpers) {
        ++job->helpers;
        return job;
      }
    }
    return nullptr;
  }

  void leave(Job* job) {
    bool last;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      last = --job->helpers == 0;
    }
    if (last) done_.notify_all();
  }

  void loop() {
    for (;;) {
      if (Job* job = find()) {
        spread(*job);
        job->work();
        leave(job);
      }
    }
  }

  Job* find() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(50);
    do {
      for (int spin = 0; spin < 64; ++spin) {
        if (open_jobs_.load(std::memory_order_acquire) > 0) {
          if (Job* job = enter()) return job;
        }
        pause();
      }
    } while (std::chrono::steady_clock::now() < deadline);
    std::unique_lock<std::mutex> lock(mutex_);
    const auto useful = [&] {
      for (Job* job : jobs_)
        if (job->open() && job->helpers < job->max_helpers) return true;
      return false;
    };
    sleepers_.fetch_add(1);
    wake_.wait(lock, useful);
    sleepers_.fetch_sub(1);
    return nullptr;
  }

  std::atomic<int> threads_{hardware_threads()};
  std::atomic<int> open_jobs_{0};
  std::atomic<int> sleepers_{0};
  int started_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<Job*> jobs_;
};

// Never destroyed: detached workers may still wait on it while the process exits.
Pool& pool() {
  static Pool* instance = new Pool;
  return *instance;
}

}  // namespace

int num_threads() { return inside_job ? 1 : pool().threads(); }
void set_num_threads(int n) { pool().set_threads(n); }

void detail::run_parallel(int64_t n, int64_t grain, Body body, void* context) {
  const int threads = num_threads();
  grain = std::max<int64_t>(grain, 1);
  if (inside_job || threads == 1 || n <= grain) return body(context, 0, n);
  Job job;
  job.n = n;
  // Four pieces a thread even out a thread that the machine takes away for a while.
  job.piece = std::max(grain, (n + threads * 4 - 1) / (threads * 4));
  job.body = body;
  job.context = context;
  job.max_helpers =
      static_cast<int>(std::min<int64_t>(threads - 1, (n + job.piece - 1) / job.piece - 1));
  if (job.max_helpers == 0) return body(context, 0, n);
  pool().run(job);
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace surprisal
