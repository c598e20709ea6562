#include "cuda/error.h"

namespace surprisal::cuda {
namespace {

std::string version(int v) {
  return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10);
}

}  // namespace

// The numbers are cudaError_t's: contexts destroyed or reset by somebody else, and the failures of
// kernels and of the hardware.
bool is_sticky(driver::Status status) {
  switch (status) {
    case 4:    // cudaErrorCudartUnloading
    case 46:   // cudaErrorDevicesUnavailable
    case 201:  // cudaErrorDeviceUninitialized
    case 214:  // cudaErrorECCUncorrectable
    case 220:  // cudaErrorNvlinkUncorrectable
    case 400:  // cudaErrorInvalidResourceHandle: our streams died with a reset
    case 700:  // cudaErrorIllegalAddress
    case 702:  // cudaErrorLaunchTimeout
    case 709:  // cudaErrorContextIsDestroyed
    case 710:  // cudaErrorAssert
    case 714:  // cudaErrorHardwareStackError
    case 715:  // cudaErrorIllegalInstruction
    case 716:  // cudaErrorMisalignedAddress
    case 717:  // cudaErrorInvalidAddressSpace
    case 718:  // cudaErrorInvalidPc
    case 719:  // cudaErrorLaunchFailure
    case 721:  // cudaErrorContained: a memory error that hit this process alone
    case 722:  // cudaErrorTensorMemoryLeak
    case 999:  // cudaErrorUnknown
      return true;
    default:
      return false;
  }
}

std::string describe(driver::Status status) {
  return std::string(driver::error_text(status)) + " (" + driver::error_name(status) + ", " +
         std::to_string(status) + ")";
}

std::string device_name(int device) { return "cuda:" + std::to_string(device); }

std::string missing_reason(const driver::Versions& versions) {
  if (versions.error == 0 && versions.devices > 0) return "";
  if (versions.error == driver::kDriverTooOld) {
    if (versions.driver == 0) return "no NVIDIA driver";
    return "driver too old: it serves CUDA " + version(versions.driver) + ", this build needs " +
           version(versions.runtime);
  }
  if (versions.error == driver::kNoDevice || versions.error == 0) return "no CUDA device";
  return describe(versions.error);
}

void refuse_in_capture(const char* what) {
  throw Error(Code::internal, std::string("cuda.graph: ") + what +
                                  " while a graph is being captured; do it before or after");
}

}  // namespace surprisal::cuda
