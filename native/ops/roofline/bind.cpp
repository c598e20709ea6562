#include "node/bind.h"
#include "ops/roofline/op.h"

namespace surprisal::roofline {

void bind(node::Module& m) {
  m.def<Read, read_cpu>("rooflineRead", {SP_FIELD(Read, source), SP_FIELD(Read, sum)});
  m.def<Copy, copy_cpu>("rooflineCopy", {SP_FIELD(Copy, source), SP_FIELD(Copy, destination)});
  m.def<Fma, fma_cpu>("rooflineFma", {SP_FIELD(Fma, rounds), SP_FIELD(Fma, out)});
  m.def<Clock, clock_cpu>("rooflineClock", {SP_FIELD(Clock, additions)});
}

}  // namespace surprisal::roofline
