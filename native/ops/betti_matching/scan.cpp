#include "ops/betti_matching/keys.h"
#include "ops/betti_matching/scan.h"

#define SURPRISAL_BODY "ops/betti_matching/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::betti_matching {

void scan(const Scan& s) {
  if (s.grid->rank == 2) return SURPRISAL_DISPATCH(betti_matching::scan2, s);
  SURPRISAL_DISPATCH(betti_matching::scan3, s);
}

void keys_of(const float* values, int64_t n, bool superlevel, int32_t* keys) {
  SURPRISAL_DISPATCH(betti_matching::keys_of, values, n, superlevel, keys);
}

int32_t least_of(const int32_t* keys, int64_t n) {
  return SURPRISAL_DISPATCH(betti_matching::least_of, keys, n);
}

void combine(const int32_t* a, const int32_t* b, int64_t n, bool larger, int32_t* out) {
  SURPRISAL_DISPATCH(betti_matching::combine, a, b, n, larger, out);
}

void roots_of(int32_t* parent, int64_t n, int32_t* nodes) {
  SURPRISAL_DISPATCH(betti_matching::roots_of, parent, n, nodes);
}

void shorten(const Grid& g, int32_t* parent) {
  SURPRISAL_DISPATCH(betti_matching::shorten, g, parent);
}

}  // namespace surprisal::betti_matching
