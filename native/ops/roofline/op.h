// The machine's limits, so that a bench can divide by them in the run it reports:
//   read   bandwidth of all threads reading a buffer once
//   copy   bandwidth of all threads copying it with streaming stores (no read for ownership)
//   fma    float32 multiply-adds a second of all threads, operands in registers
//   clock  cycles of one core: a chain of dependent register additions, one cycle each
// The caller takes the time. Buffers should be far larger than the last-level cache.
#pragma once
#include "core/view.h"

namespace surprisal::roofline {

struct Read {
  View source;  // float32 (n)
  View sum;     // float64 (1), so that no load can be left out
};
struct Copy {
  View source;       // float32 (n)
  View destination;  // float32 (n)
};
struct Fma {
  int64_t rounds = 0;  // a fixed number of multiply-adds each, see `out`
  View out;            // float64 (2): operations done; a sum that keeps them alive
};
struct Clock {
  int64_t additions = 0;
};

void read_cpu(const Read& op);
void copy_cpu(const Copy& op);
void fma_cpu(const Fma& op);
void clock_cpu(const Clock& op);

}  // namespace surprisal::roofline
