// Says, by how many threads a block of it may have, which code a device has loaded: the driver
// tells the architecture of a kernel, but not whether its features were compiled in.
#include "cuda/code.h"
#include "cuda/device.h"

namespace surprisal::cuda {
namespace {

#if defined(SP_WGMMA)
constexpr int kThreads = kProbeThreads + kWarp;
#else
constexpr int kThreads = kProbeThreads;
#endif

__global__ void __launch_bounds__(kThreads) code_probe_kernel() {}

}  // namespace

const void* code_probe() { return reinterpret_cast<const void*>(&code_probe_kernel); }

}  // namespace surprisal::cuda
