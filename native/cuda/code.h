// What the kernels of this build can do on a device: that is a matter of the code that was compiled
// and loaded, not of the device. PTX of compute_80 runs on all that is newer, without clusters, and
// wgmma is in code for sm_90a alone, which nothing else runs.
#pragma once
#include <string>

namespace surprisal::cuda {

struct LoadedCode {
  int arch = 0;        // __CUDA_ARCH__ / 10 of the kernels that are compiled for every architecture
  bool wgmma = false;  // it is that of sm_90a
};

// What the driver picks of the architectures that CMakeLists.txt compiles for ("80,90a"; "-real" is
// machine code alone, "-virtual" PTX alone); arch 0 where a device runs none of it.
LoadedCode code_for(const std::string& built, int capability);

// Properties::arch: what plans may count on. Nothing of 9.0 but wgmma is worth a plan of its own,
// so code for sm_90 counts as older.
int planned_arch(const LoadedCode& code);

// Empty where the device runs code of this build.
std::string missing_code(const std::string& built, const std::string& name, int capability);

// Kernels to ask about what has been loaded. The first may have kProbeThreads threads a block, one
// warp more in code with wgmma; the second as many as stand for its architecture: whole warps, as a
// driver may round what is not.
constexpr int kProbeThreads = 64;
constexpr int probe_threads(int arch) { return 32 * (arch / 5 - 14); }
const void* features_probe();
const void* arch_probe();
// What the driver says of a kernel: the architecture of the PTX that it was made from, the one that
// it is machine code for, the most threads of a block.
struct Probed {
  int ptx = 0, binary = 0, threads = 0;
};
// What they say together. Where they contradict each other it is the least that they allow: a plan
// for older code is slow, one for newer code fails.
LoadedCode code_from(const Probed& features, const Probed& arch);

}  // namespace surprisal::cuda
