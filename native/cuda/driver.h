// What the runtime asks of a device: streams, events, memory, copies, launches, graphs. Thin, so
// that all logic lies above it and is tested without a GPU. Two implementations, one linked:
// cudart.cpp over NVIDIA's runtime, emulator/driver.cpp. Every function returns one of CUDA's error
// numbers, 0 for success, and throws nothing. Handles are those of CUDA's runtime.
// The device meant is the calling thread's current one, except where a function takes it.
#pragma once
#include <cstdint>

#include "cuda/code.h"
#include "cuda/runtime.h"

namespace surprisal::cuda::driver {

using Status = int;
constexpr Status kOutOfMemory = 2;
constexpr Status kDriverTooOld = 35;
constexpr Status kNoDevice = 100;
constexpr Status kInvalidHandle = 400;
constexpr Status kNotReady = 600;

struct Versions {
  bool emulated = false;
  int driver = 0;  // 1000 major + 10 minor; 0 where there is no driver
  int runtime = 0;
  Status error = 0;  // of asking for the devices
  int devices = 0;
};
Versions versions();
// `arch` is the device's own.
Status properties(int device, Properties& out);
// What the kernels were compiled for, as code_for takes it.
const char* built_for();
// What the current device has loaded of it; error 209 and the like where it runs none.
Status loaded_code(LoadedCode& out);
const char* error_name(Status status);
const char* error_text(Status status);

Status current_device(int* device);
Status use_device(int device);

Status stream_create(void** stream);  // not ordered after the legacy default stream
Status stream_synchronize(void* stream);
Status stream_query(void* stream);  // kNotReady until all on it is done
Status stream_device(void* stream, int* device);
Status stream_wait(void* stream, void* event);
Status event_create(void** event);
Status event_record(void* event, void* stream);
Status event_query(void* event);  // kNotReady until all before it is done
Status event_synchronize(void* event);

// A pool that keeps what is freed until it is trimmed.
Status pool_create(int device, void** pool);
Status pool_trim(void* pool);
// From so many bytes on, in use or not, what is free goes back to the system when the device is
// waited for.
Status pool_keep(void* pool, int64_t bytes);
// Lets another device read the pool's memory, where the two are connected.
Status pool_share(void* pool, int device);
Status allocate(void** out, int64_t bytes, void* pool, void* stream);
Status release(void* memory, void* stream);
Status memory_info(int64_t* free, int64_t* total);
// Page-locked memory of the host.
Status host_allocate(void** out, int64_t bytes);
Status host_release(void* memory);
// The runtime recycles memory itself: told in stream order, so that the emulator can refuse
// accesses to memory that waits for its next user. No calls of the real driver.
void retire(void* memory, void* stream);
void reuse(void* memory, int64_t bytes, void* stream);

Status copy(void* to, const void* from, int64_t bytes, void* stream);  // any to any; host: pinned
Status copy_peer(void* to, int to_device, const void* from, int from_device, int64_t bytes,
                 void* stream);
Status fill(void* to, int value, int64_t bytes, void* stream);
Status launch(const void* kernel, const Shape& shape, void** arguments,
              void (*emulate)(const void* kernel, void** arguments), const size_t* sizes, int count,
              int device, void* stream);

// What is enqueued on `stream` between the two becomes a graph instead of running.
Status capture_begin(void* stream);
Status capture_end(void* stream, void** graph);
Status graph_launch(void* graph, void* stream);
Status graph_destroy(void* graph);

// Makes the emulated device fail; false in the real driver.
struct Injection {
  int64_t capacity = -1;       // bytes of device memory from now on
  int64_t host_room = -1;      // bytes of page-locked memory that there are from now on
  Status fail_next = 0;        // of the next work that runs
  int64_t seed = -1;           // of how streams interleave
  void* end_stream = nullptr;  // destroyed, as by whoever has made it
};
bool inject(const Injection& injection);
// Driver calls so far (for tests of what an operation costs).
int64_t calls();
// What is enqueued on the emulated device and has not run; 0 in the real driver.
int64_t pending();

}  // namespace surprisal::cuda::driver
