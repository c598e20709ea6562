// Say, by how many threads a block of them may have, which code a device has loaded: the driver
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
#if defined(__CUDA_ARCH__)
constexpr int kArchThreads = probe_threads(__CUDA_ARCH__ / 10);
#else
constexpr int kArchThreads = kWarp;
#endif

__global__ void __launch_bounds__(kThreads) features_probe_kernel() {}
__global__ void __launch_bounds__(kArchThreads) arch_probe_kernel() {}

}  // namespace

const void* features_probe() { return reinterpret_cast<const void*>(&features_probe_kernel); }
const void* arch_probe() { return reinterpret_cast<const void*>(&arch_probe_kernel); }

}  // namespace surprisal::cuda
