#include "ops/roofline/op.h"

#include <utility>

#define SURPRISAL_AVX512
#define SURPRISAL_BODY "ops/roofline/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::roofline {

void read_cpu(const Read& op) { SURPRISAL_DISPATCH(roofline::read, op); }

void copy_cpu(const Copy& op) {
  require(op.source.size == op.destination.size, "rooflineCopy: sizes differ");
  SURPRISAL_DISPATCH(roofline::copy, op);
}

void fma_cpu(const Fma& op) { SURPRISAL_DISPATCH(roofline::multiply_add, op); }

void clock_cpu(const Clock& op) {
  uint64_t x = 0, step = 1;
  // The empty statements hide both values: the sum cannot be foreseen, nor can the step become an
  // immediate, which some cores add for nothing while renaming.
  __asm__ volatile("" : "+r"(step));
  for (int64_t i = 0; i < op.additions; i += 4) {
    for (int k = 0; k < 4; ++k) {
      x += step;
      __asm__ volatile("" : "+r"(x));
    }
  }
}

}  // namespace surprisal::roofline
