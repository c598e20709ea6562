// The memory of a device tensor as JavaScript holds it: an external value around this struct.
#pragma once
#include <node_api.h>

#include <cstdint>
#include <memory>

#include "core/dtype.h"

namespace surprisal::cuda {
struct Block;
}

namespace surprisal::node {

struct DeviceMemory {
  static constexpr uint64_t kMagic = 0x73757270'64657663;  // refuses externals of other addons
  uint64_t magic = kMagic;
  void* data = nullptr;  // null once freed
  DType dtype = DType::f32;
  int64_t size = 0;  // elements
  int device = 0;
  bool freed = false;
  std::shared_ptr<cuda::Block> block;  // null for no elements
  napi_ref weak = nullptr;             // says whether JavaScript still holds it
  size_t place = 0;                    // in the thread's table

  int64_t bytes() const { return size * size_of(dtype); }
};

// An operation is about to use the memory: it goes before, on the device, what copies to the host
// are still reading of it; and a graph that is being captured keeps it.
void prepare_use(const DeviceMemory& memory);

}  // namespace surprisal::node
