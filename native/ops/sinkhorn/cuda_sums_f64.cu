// Sums over plans in double.
#include "ops/sinkhorn/sums_device.h"

namespace surprisal::sinkhorn {
template void make_exponents<double>(const Rows&, cuda::Stream&);
template void add_sums<double>(const SumWork&, int64_t, cuda::Stream&);
template void write_entries<double>(const EntryWork&, cuda::Stream&);
}  // namespace surprisal::sinkhorn
