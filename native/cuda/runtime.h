// The host side of CUDA that operations see: a device's stream, scratch memory and launches. Two
// implementations: runtime.cpp over cudart, emulator/runtime.cpp over the kernel emulator.
// Everything is enqueued; nothing here waits for the device.
#pragma once
#include <cstdint>
#include <string>

#include "core/check.h"
#include "core/view.h"
#include "cuda/fault.h"

namespace surprisal::cuda {

struct Properties {
  std::string name;
  int processors = 0;         // streaming multiprocessors
  int arch = 0;               // 10 major + minor: 80, 90, ...
  int64_t memory = 0;         // bytes
  int64_t l2 = 0;             // bytes
  int64_t shared = 0;         // most bytes of dynamic shared memory a block may ask for
  int64_t shared_per_sm = 0;  // bytes
  bool emulated = false;
  bool has_clusters() const { return arch >= 90; }
  bool has_wgmma() const { return arch == 90; }
};

struct Shape {
  int64_t blocks = 1;
  int threads = 256;
  int64_t shared = 0;  // bytes of dynamic shared memory
  int cluster = 1;     // blocks a cluster; `blocks` is a multiple of it
  // All blocks run at once, so that they may wait for each other; the launch fails where they do
  // not fit the device.
  bool together = false;
};

// The compute stream of one device, as an operation gets it: the device is current, and scratch
// memory lasts until the operation returns (later work on the stream comes after its launches).
class Stream {
 public:
  virtual ~Stream() = default;
  virtual int device() const = 0;
  virtual const Properties& properties() const = 0;
  // cudaStream_t, for libraries that take one. Null under the emulator.
  virtual void* handle() const = 0;
  // 256-byte aligned; grows the stream's arena. Throws OutOfMemoryError's native form.
  virtual void* scratch_bytes(int64_t bytes) = 0;
  template <class T>
  T* scratch(int64_t n) {
    return static_cast<T*>(scratch_bytes(n * static_cast<int64_t>(sizeof(T))));
  }
  // For kernels that check values. `raise` throws the Error that words the fault; it is called on
  // the host at the next synchronising read.
  virtual FaultSite fault_site(void (*raise)(const Fault&)) = 0;
  virtual void fill_bytes(void* to, int value, int64_t bytes) = 0;
  virtual void copy(void* to, const void* from, int64_t bytes) = 0;  // within the device
  // From memory of the host, which may be reused as soon as this returns.
  virtual void upload(void* to, const void* from, int64_t bytes) = 0;
  // What `launch` (cuda/launch.h) calls.
  virtual void launch_kernel(const void* kernel, const Shape& shape, void** arguments,
                             void (*emulate)(const void* kernel, void** arguments),
                             const size_t* sizes, int count) = 0;
};

// One operation on a device's stream: makes the device current, keeps other threads off the stream,
// and gives the scratch memory back at its end.
class Operation {
 public:
  explicit Operation(int device);
  ~Operation();
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  Stream& stream() const { return *stream_; }

 private:
  Stream* stream_;
  int previous_device_;
};

}  // namespace surprisal::cuda
