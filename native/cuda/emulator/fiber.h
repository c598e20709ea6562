// Stackful coroutines for the emulator's threads: a switch saves the callee-saved registers and
// changes the stack, about 2 ns. x86-64 and aarch64 Linux in assembly, elsewhere ucontext.
// A fiber never leaves the host thread that made it.
#pragma once
#include <cstddef>
#include <memory>
#include <vector>

namespace surprisal::cuda::emulator {

class Fiber {
 public:
  Fiber();                                    // the host thread itself, on its own stack
  Fiber(void (*entry)(void), size_t number);  // `entry` never returns; `number` colours the stack
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Forgets what ran here: the next switch enters `entry` anew. No destructor runs.
  void reset();
  // Leaves `from`, goes on in `to`; returns when somebody switches back.
  static void change(Fiber& from, Fiber& to);
  // The first thing that `entry` calls.
  static void entered();

 private:
  struct Context;
  void (*entry_)(void) = nullptr;
  char* map_ = nullptr;  // guard page, then the stack
  size_t number_ = 0;
  void* stack_pointer_ = nullptr;
  void* sanitizer_ = nullptr;  // AddressSanitizer's record of the stack while it is left
  const void* bottom_ = nullptr;
  size_t size_ = 0;
  std::unique_ptr<Context> context_;
};

// Fibers at rest, to run threads in. All of one host thread.
class FiberPool {
 public:
  explicit FiberPool(void (*entry)(void)) : entry_(entry) {}
  Fiber* take();
  void give(Fiber* fiber) { idle_.push_back(fiber); }

 private:
  void (*entry_)(void);
  std::vector<std::unique_ptr<Fiber>> all_;
  std::vector<Fiber*> idle_;
};

}  // namespace surprisal::cuda::emulator
