// The memory of a device tensor as JavaScript holds it: an external value around this struct.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace surprisal::node {

struct DeviceMemory {
  static constexpr uint64_t kMagic = 0x73757270'64657663;  // refuses externals of other addons
  uint64_t magic = kMagic;
  void* data = nullptr;  // null once freed
  DType dtype = DType::f32;
  int64_t size = 0;  // elements
  int device = 0;
};

}  // namespace surprisal::node
