// A kernel's access to device memory: checked against the state of its bytes, then against what
// other threads did there.
#pragma once
#include "cuda/emulator/machine.h"

namespace surprisal::cuda::emulator {

template <size_t N, size_t A>
SP_EMULATED void check_read(const void* p, Site site) {
  const uintptr_t a = reinterpret_cast<uintptr_t>(p);
  if (a % A != 0 || a - arena.begin >= arena.size || !all_have<N>(state_of(p), 2)) {
    refuse(Access::read, p, N, A, site);
  }
  if (watching) note_read(current->actor, p, N, site);
}
template <size_t N, size_t A>
SP_EMULATED void check_write(void* p, Site site) {
  const uintptr_t a = reinterpret_cast<uintptr_t>(p);
  if (a % A != 0 || a - arena.begin >= arena.size || !all_have<N>(state_of(p), 1)) {
    refuse(Access::write, p, N, A, site);
  }
  if (watching) note_write(current->actor, current->actor.thread, p, N, site);
  std::memset(state_of(p), kInitialised, N);
}
// Atomics order all that was done before, and are no race themselves.
template <class T>
inline T* check_atomic(T* p, Site site) {
  const uintptr_t a = reinterpret_cast<uintptr_t>(p);
  if (a % alignof(T) != 0 || a - arena.begin >= arena.size ||
      !all_have<sizeof(T)>(state_of(p), kInitialised)) {
    refuse(Access::read, p, sizeof(T), alignof(T), site);
  }
  if (watching) learn(current->actor.seen, kOfDevice, advance());
  return p;
}

}  // namespace surprisal::cuda::emulator
