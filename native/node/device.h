// Functions of devices, as src/runtime.ts types them. A build without CUDA has `deviceStatus` only.
#pragma once
#include <napi.h>

#include <string>

#include "core/view.h"
#include "node/device_memory.h"

namespace surprisal::node {

void bind_device(napi_env env, napi_value exports);

// A call from JavaScript; absent arguments are undefined.
struct Call {
  static constexpr size_t kMost = 5;
  napi_env env;
  napi_value values[kMost];

  bool is_absent(size_t i) const;
  int64_t integer(size_t i, const char* name) const;
  uint64_t address(size_t i, const char* name) const;  // a bigint
  std::string text(size_t i, const char* name) const;
  bool flag(size_t i) const;
  DType dtype(size_t i) const;
  int device(size_t i) const { return static_cast<int>(integer(i, "device")); }
  View array(size_t i, const char* name) const;            // a typed array
  DeviceMemory& memory(size_t i, const char* name) const;  // freed or not
  DeviceMemory& live_memory(size_t i, const char* name) const;
};

using Entry = napi_value (*)(const Call& call);
napi_value call_entry(napi_env env, napi_callback_info info, Entry entry);
template <Entry F>
void define(napi_env env, napi_value exports, const char* name) {
  napi_value function;
  napi_create_function(
      env, name, NAPI_AUTO_LENGTH,
      [](napi_env e, napi_callback_info info) { return call_entry(e, info, F); }, nullptr,
      &function);
  napi_set_named_property(env, exports, name, function);
}

#if defined(SURPRISAL_CUDA)
// Wraps memory for JavaScript and counts its bytes to V8.
napi_value make_device_memory(napi_env env, std::unique_ptr<DeviceMemory> memory);
void bind_device_state(napi_env env, napi_value exports);
void bind_device_values(napi_env env, napi_value exports);
void bind_device_graphs(napi_env env, napi_value exports);
#endif

}  // namespace surprisal::node
