#include "cuda/error.h"

#include "cuda/sticky.h"

namespace surprisal::cuda {
namespace {

std::string version(int v) {
  return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10);
}

}  // namespace

bool is_sticky(driver::Status status) {
  switch (status) {
#define SURPRISAL_CASE(name, number) case number:
    SURPRISAL_STICKY_ERRORS(SURPRISAL_CASE)
    SURPRISAL_STICKY_ERRORS_OF_13(SURPRISAL_CASE)
#undef SURPRISAL_CASE
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
