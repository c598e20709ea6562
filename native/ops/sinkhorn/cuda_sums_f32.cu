// Sums over plans in float.
#include "ops/sinkhorn/sums_device.h"

namespace surprisal::sinkhorn {
template void make_exponents<float>(const Rows&, cuda::Stream&);
template void add_sums<float>(const SumWork&, int64_t, cuda::Stream&);
template void write_entries<float>(const EntryWork&, cuda::Stream&);
}  // namespace surprisal::sinkhorn
