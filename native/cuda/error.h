// A device's error numbers as exceptions, and the reasons why there is no device.
#pragma once
#include <string>

#include "core/check.h"
#include "cuda/driver.h"

namespace surprisal::cuda {

// After one of these the device's context is lost for the process: every later call gives it too.
bool is_sticky(driver::Status status);
// "out of memory (cudaErrorMemoryAllocation, 2)"
std::string describe(driver::Status status);
std::string device_name(int device);
// Empty where there is a device to use.
std::string missing_reason(const driver::Versions& versions);

// Work was asked for that a capture cannot record.
[[noreturn]] void refuse_in_capture(const char* what);

}  // namespace surprisal::cuda
