// Who runs next: the ready threads of the resident clusters, and how clusters come and go.
#pragma once
#include <exception>

#include "cuda/emulator/fiber.h"
#include "cuda/emulator/machine.h"

namespace surprisal::cuda::emulator {

// splitmix64
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  uint64_t below(uint64_t n) { return static_cast<uint64_t>((__uint128_t{next()} * n) >> 64); }

 private:
  uint64_t state_;
};

class Machine {
 public:
  Machine();
  void run_threads();
  void run(const Launch& launch);
  const Launch& launch() const { return launch_; }
  Random& random() { return random_; }
  Engine& engine() { return engine_; }
  bool shuffles() const { return launch_.seed != 0; }

  // Gives the processor away until somebody makes the current thread ready.
  void wait(const char* waits_for, Site site);
  // The same, but the current thread stays ready.
  void yield(const char* waits_for, Site site);
  void wake(Thread* thread);
  void wake(std::vector<Thread*>& threads);

 private:
  static void enter();  // what fibers run
  void finish(Thread* thread);
  void check_ended(const Block& block);
  Thread* pick();
  Thread* take_in_order();
  Thread* take_at_random();
  bool frozen(const Thread* thread) const;
  void freeze();
  void resume(Thread* next);
  void admit();
  void place(Cluster& cluster, int64_t first_block);
  int64_t cluster_number(int64_t n) const;
  [[noreturn]] void deadlock();
  void abandon();

  Launch launch_{};
  Engine engine_;
  uint64_t laziness_ = 0;  // one in so many picks lets a copy go on
  Random random_{0};
  Fiber host_;
  FiberPool fibers_;
  std::vector<Cluster> clusters_;
  int residents_ = 1;
  int64_t admitted_ = 0, ended_ = 0, count_ = 0;  // clusters
  int64_t stride_ = 1, offset_ = 0;               // of the order of clusters
  std::vector<Thread*> ready_;
  int64_t idle_yields_ = 0;  // since something happened
  const Block* frozen_block_ = nullptr;
  int frozen_begin_ = 0, frozen_end_ = 0, frozen_picks_ = 0;
  uint32_t launch_begin_ = 0;  // time
  std::exception_ptr error_;
};

// The machine of this host thread, while `current` runs on it.
extern __thread Machine* active __attribute__((visibility("hidden")));
inline Machine& machine() { return *active; }
void run_here(const Launch& launch);

}  // namespace surprisal::cuda::emulator
