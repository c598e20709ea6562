// What the emulated driver and its devices say that they are: variables make it another driver and
// other devices, for tests of what is told about those.
#include <cstdlib>
#include <cstring>

#include "cuda/driver.h"
#include "cuda/emulator/machine.h"

namespace surprisal::cuda::driver {
namespace {

constexpr Status kInvalidDevice = 101, kNoCode = 209;

int number_from(const char* variable, int otherwise) {
  const char* text = std::getenv(variable);
  return text && *text ? std::atoi(text) : otherwise;
}

// "90,61" for two devices; else what the emulator is.
int capability_of(int device) {
  const char* text = std::getenv("SURPRISAL_EMULATOR_CAPABILITY");
  for (int i = 0; text && i < device; ++i) {
    text = std::strchr(text, ',');
    if (text) ++text;
  }
  return text && *text ? std::atoi(text) : emulator::arch();
}

}  // namespace

Versions versions() {
  Versions out;
  out.emulated = true;
  out.runtime = 13000;
  out.driver = number_from("SURPRISAL_EMULATOR_DRIVER", out.runtime);
  if (out.driver < out.runtime) {
    out.error = kDriverTooOld;
    return out;
  }
  out.devices = number_from("SURPRISAL_EMULATOR_DEVICES", 1);
  if (out.devices == 0) out.error = kNoDevice;
  return out;
}

const char* built_for() {
  const char* text = std::getenv("SURPRISAL_EMULATOR_BUILT_FOR");
  return text && *text ? text : "80,90a";
}

Status loaded_code(LoadedCode& out) {
  int device = 0;
  current_device(&device);
  out = code_for(built_for(), capability_of(device));
  return out.arch ? 0 : kNoCode;
}

Status properties(int device, Properties& out) {
  if (device < 0 || device >= versions().devices) return kInvalidDevice;
  const bool has_clusters = emulator::arch() >= 90;
  int64_t free = 0;
  memory_info(&free, &out.memory);
  out.name = "emulator";
  out.arch = capability_of(device);
  out.processors = emulator::processors();
  out.l2 = int64_t{50} << 20;
  out.shared = has_clusters ? 227 << 10 : 163 << 10;
  out.shared_per_sm = out.shared + 1024;
  out.emulated = true;
  return 0;
}

}  // namespace surprisal::cuda::driver
