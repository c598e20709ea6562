#include "ops/betti_matching/scan.h"

#define SURPRISAL_BODY "ops/betti_matching/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::betti_matching {

void scan(const Scan& s) {
  if (s.grid->rank == 2) return SURPRISAL_DISPATCH(betti_matching::scan2, s);
  SURPRISAL_DISPATCH(betti_matching::scan3, s);
}

void shorten(const Grid& g, int32_t* parent) {
  SURPRISAL_DISPATCH(betti_matching::shorten, g, parent);
}

}  // namespace surprisal::betti_matching
