// The emulated device's memory: one reserved range of addresses with a byte of state for each byte,
// at a fixed distance, so that checking an access is a subtraction and a comparison. Global
// allocations and the shared memory of blocks both lie in it, apart from each other by red zones.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace surprisal::cuda::emulator {

// Where in a kernel's source an intrinsic was called. A default argument takes it there.
struct Site {
  const char* file;
  int line;
};
#define SP_SITE ::surprisal::cuda::emulator::Site site = {__builtin_FILE(), __builtin_LINE()}
#define SP_EMULATED inline __attribute__((always_inline))

// What may be done with a byte. Bit 0: written, bit 1: read.
enum State : uint8_t {
  kOutside = 0,        // of every allocation: never made, a red zone, or freed
  kUninitialised = 1,  // may be written only
  kSource = 2,         // an asynchronous store is still reading it
  kInitialised = 3,
  kDestination = 4,  // an asynchronous copy is still writing it
  kBarrier = 8,      // of an mbarrier
};
enum class Access { read, write };

// 256-byte aligned. Throws Error (out_of_memory) when the range is full.
void* allocate(int64_t bytes);
void release(void* p);
int64_t live_bytes();  // in allocations not yet released

// For copies that the host makes.
void mark_initialised(void* p, int64_t bytes);
void mark_uninitialised(void* p, int64_t bytes);  // scratch memory that is handed out again
// Throws unless all bytes lie in one allocation and, where they are to be read, have been written.
void check_range(const void* p, int64_t bytes, bool write);

// --- for the intrinsics --------------------------------------------------------------------------
struct Arena {
  uintptr_t begin = 0;
  uint64_t size = 0;  // 0 until something is allocated: every access fails
  uint8_t* state = nullptr;
  uint64_t shared_begin = 0;  // shared memory lies from this offset on
  void* records = nullptr;    // four times as long: who accessed what (race.h)
};
extern Arena arena __attribute__((visibility("hidden")));

SP_EMULATED uint8_t* state_of(const void* p) {
  return arena.state + (reinterpret_cast<uintptr_t>(p) - arena.begin);
}
inline bool is_device(const void* p) {
  return reinterpret_cast<uintptr_t>(p) - arena.begin < arena.size;
}
void set_state(const void* p, int64_t bytes, State state);
// "offset 12 of an allocation of 100 bytes"
std::string describe(const void* p);

// Whether N bytes of state all have `bit`.
template <size_t N>
SP_EMULATED bool all_have(const uint8_t* state, uint8_t bit) {
  if constexpr (N == 1) {
    return *state & bit;
  } else if constexpr (N == 2 || N == 4 || N == 8) {
    const uint64_t every = (~uint64_t{0} >> (64 - 8 * N)) / 255 * bit;
    uint64_t s = 0;
    std::memcpy(&s, state, N);
    return (s & every) == every;
  } else if constexpr (N % 8 == 0) {
    return all_have<8>(state, bit) && all_have<N - 8>(state + 8, bit);
  } else {
    constexpr size_t kTail = N % 8 >= 4 ? 4 : N % 8 >= 2 ? 2 : 1;
    return all_have<kTail>(state, bit) && all_have<N - kTail>(state + kTail, bit);
  }
}

// Explains why an access is wrong.
[[noreturn]] void refuse(Access access, const void* p, size_t bytes, size_t align, Site site);
void check(Access access, const void* p, size_t bytes, size_t align, Site site);

// Shared memory for one block at a time: `open` makes its first bytes usable and uninitialised.
class Window {
 public:
  Window() = default;
  ~Window();
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;
  void open(int64_t bytes);
  uint8_t* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  uint8_t* data_ = nullptr;
  int64_t bytes_ = 0, capacity_ = 0;
};

}  // namespace surprisal::cuda::emulator
