// What kernels leave behind when they meet bad values, and how it becomes an error on the host.
#pragma once
#include <cstdint>

namespace surprisal::cuda {

// One fault record per device. The first launch that finds bad values wins, in it the lowest row.
// `raise` is a host function that words the error; it runs at the next synchronising read.
struct Fault {
  uint64_t raise;     // 0: none. void (*)(const Fault&)
  uint64_t sequence;  // of the launch
  int64_t row;
  int64_t value;  // the bad value, or the bits of a double
  int64_t a, b;   // what else the message needs
  uint32_t lock;
  uint32_t unused;
};
// What a kernel gets, to report with (Stream::fault_site).
struct FaultSite {
  Fault* slot;
  uint64_t raise, sequence;
};

}  // namespace surprisal::cuda
