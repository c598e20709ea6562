// Draws from the counter-based generator of core/philox.h. Element i depends only on the seed and
// on its place counted from `offset` (in blocks of four words): float32, float16 and bfloat16 use
// one word an element, float64 and integers two.
//   uniform  [0, 1), with as many random bits as the dtype's significand holds
//   normal   mean 0, variance 1; 16-bit dtypes round a float32 normal
//   integer  low + floor(range * w / 2^64), w a 64-bit word: off uniform by at most range / 2^64
#pragma once
#include "core/view.h"

namespace surprisal::random {

struct Draw {
  View out;
  int64_t seed = 0;
  int64_t offset = 0;
};
struct Integers {
  View out;
  int64_t seed = 0;
  int64_t offset = 0;
  int64_t low = 0;
  int64_t high = 1;  // exclusive
};

void uniform_cpu(const Draw& op);
void normal_cpu(const Draw& op);
void integers_cpu(const Integers& op);
void uniform_cuda(const Draw& op, cuda::Stream& stream);
void normal_cuda(const Draw& op, cuda::Stream& stream);
void integers_cuda(const Integers& op, cuda::Stream& stream);

}  // namespace surprisal::random
