#include "cuda/emulator/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

#include "core/check.h"

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
#define SURPRISAL_SWITCH 1
#else
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SURPRISAL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SURPRISAL_ASAN 1
#endif
#endif
#if defined(SURPRISAL_ASAN)
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace surprisal::cuda::emulator {

#if defined(SURPRISAL_ASAN)
constexpr size_t kStack = 512 << 10;  // red zones make frames several times larger
#else
constexpr size_t kStack = 128 << 10;
#endif

#if defined(SURPRISAL_SWITCH)

// Saves the registers that a call preserves below the stack pointer, stores that, takes the other.
extern "C" void surprisal_change_stack(void** save, void* take);
#if defined(__x86_64__)
asm(R"(
.text
.globl surprisal_change_stack
.hidden surprisal_change_stack
.type surprisal_change_stack,@function
surprisal_change_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size surprisal_change_stack,.-surprisal_change_stack
)");
// The entry finds the stack as a call leaves it: 8 bytes off a multiple of 16.
void* first_frame(char* top, void (*entry)(void)) {
  auto* frame = reinterpret_cast<void**>(top) - 8;
  for (int i = 0; i < 8; i++) frame[i] = nullptr;
  frame[6] = reinterpret_cast<void*>(entry);
  return frame;
}
#else
asm(R"(
.text
.globl surprisal_change_stack
.hidden surprisal_change_stack
.type surprisal_change_stack,@function
surprisal_change_stack:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size surprisal_change_stack,.-surprisal_change_stack
)");
void* first_frame(char* top, void (*entry)(void)) {
  auto* frame = reinterpret_cast<void**>(top) - 20;
  for (int i = 0; i < 20; i++) frame[i] = nullptr;
  frame[11] = reinterpret_cast<void*>(entry);
  return frame;
}
#endif
struct Fiber::Context {};

#else

struct Fiber::Context {
  ucontext_t place;
};

#endif

Fiber::Fiber() : context_(new Context) {
#if defined(SURPRISAL_ASAN)
  pthread_attr_t attributes;
  void* bottom = nullptr;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &bottom, &size_);
  pthread_attr_destroy(&attributes);
  bottom_ = bottom;
#endif
}

Fiber::Fiber(void (*entry)(void), size_t number)
    : entry_(entry), number_(number), context_(new Context) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* map = mmap(nullptr, page + kStack, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) throw Error(Code::out_of_memory, "cuda emulator: no memory for a stack");
  mprotect(map, page, PROT_NONE);
  map_ = static_cast<char*>(map);
  bottom_ = map_ + page;
  size_ = kStack;
  reset();
}

Fiber::~Fiber() {
  if (map_) munmap(map_, static_cast<size_t>(sysconf(_SC_PAGESIZE)) + kStack);
}

void Fiber::reset() {
#if defined(SURPRISAL_ASAN)
  __asan_unpoison_memory_region(bottom_, size_);
  sanitizer_ = nullptr;
#endif
  char* bottom = static_cast<char*>(const_cast<void*>(bottom_));
  // Stacks that began at the same offset of a page would fight for the same lines of the cache.
  const size_t size = kStack - number_ % 24 * 320;
#if defined(SURPRISAL_SWITCH)
  stack_pointer_ = first_frame(bottom + size, entry_);
#else
  getcontext(&context_->place);
  context_->place.uc_stack.ss_sp = bottom;
  context_->place.uc_stack.ss_size = size;
  context_->place.uc_link = nullptr;
  makecontext(&context_->place, entry_, 0);
#endif
}

void Fiber::entered() {
#if defined(SURPRISAL_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

void Fiber::change(Fiber& from, Fiber& to) {
#if defined(SURPRISAL_ASAN)
  __sanitizer_start_switch_fiber(&from.sanitizer_, to.bottom_, to.size_);
#endif
#if defined(SURPRISAL_SWITCH)
  surprisal_change_stack(&from.stack_pointer_, to.stack_pointer_);
#else
  swapcontext(&from.context_->place, &to.context_->place);
#endif
#if defined(SURPRISAL_ASAN)
  __sanitizer_finish_switch_fiber(from.sanitizer_, nullptr, nullptr);
#endif
}

Fiber* FiberPool::take() {
  if (idle_.empty()) {
    all_.push_back(std::make_unique<Fiber>(entry_, all_.size()));
    return all_.back().get();
  }
  Fiber* fiber = idle_.back();
  idle_.pop_back();
  return fiber;
}

}  // namespace surprisal::cuda::emulator
