// What asynchronous copies need of mbarriers.
#pragma once
#include "cuda/emulator/async.h"

namespace surprisal::cuda::emulator {

void complete_bytes(const Signal& signal, Site site);
// Throws unless the copy engine may use the barrier: initialised, and fenced since.
void require_ready_for_engine(Block& block, uint64_t* at, Site site);
CopyPointer make_copy(Site site);  // started by the current thread

}  // namespace surprisal::cuda::emulator
