// cuda/driver.h over NVIDIA's runtime, which is linked statically and finds the driver when first
// called: without one every call but cudaDriverGetVersion gives error 35 and changes nothing.
#include <cuda_runtime.h>

#include <atomic>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "cuda/driver.h"
#include "cuda/sticky.h"

#if !defined(SURPRISAL_BUILT_FOR)
#error "SURPRISAL_BUILT_FOR is CMakeLists.txt's SURPRISAL_CUDA_ARCHITECTURES"
#endif

namespace surprisal::cuda::driver {
namespace {

#define SURPRISAL_SAME(name, number) static_assert(cudaError##name == number, #name);
SURPRISAL_STICKY_ERRORS(SURPRISAL_SAME)
#if CUDART_VERSION >= 13000
SURPRISAL_STICKY_ERRORS_OF_13(SURPRISAL_SAME)
#endif
#undef SURPRISAL_SAME
static_assert(cudaErrorMemoryAllocation == kOutOfMemory && cudaErrorNoDevice == kNoDevice &&
              cudaErrorInsufficientDriver == kDriverTooOld && cudaErrorNotReady == kNotReady &&
              cudaErrorInvalidResourceHandle == kInvalidHandle);

std::atomic<int64_t> call_count{0};

// CUDA also keeps an error for whoever asks last; nobody here does, so it must not stay.
Status done(cudaError_t error) {
  call_count.fetch_add(1, std::memory_order_relaxed);
  if (error != cudaSuccess) cudaGetLastError();
  return static_cast<Status>(error);
}

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t event_of(void* event) { return static_cast<cudaEvent_t>(event); }

// A kernel must be told once per device that it may have more than 48 KiB of shared memory.
Status prepare(const void* kernel, const Shape& shape, int device) {
  constexpr int64_t kGranted = 48 << 10;
  constexpr int kPortableCluster = 8;
  if (shape.shared <= kGranted && shape.cluster <= kPortableCluster) return 0;
  static std::mutex mutex;
  static auto& known = *new std::map<std::pair<const void*, int>, int64_t>;
  std::lock_guard<std::mutex> lock(mutex);
  int64_t& granted = known[{kernel, device}];
  if (shape.cluster > kPortableCluster && granted == 0) {
    const Status status =
        done(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1));
    if (status) return status;
  }
  if (shape.shared > granted) {
    const Status status = done(cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shape.shared)));
    if (status) return status;
    granted = shape.shared;
  }
  return 0;
}

}  // namespace

Versions versions() {
  Versions out;
  cudaDriverGetVersion(&out.driver);
  cudaRuntimeGetVersion(&out.runtime);
  out.error = done(cudaGetDeviceCount(&out.devices));
  if (out.error) out.devices = 0;
  return out;
}

Status properties(int device, Properties& out) {
  static auto& found = *new std::unordered_map<int, Properties>;  // asking takes milliseconds
  static std::mutex mutex;
  std::lock_guard<std::mutex> lock(mutex);
  const auto known = found.find(device);
  if (known != found.end()) {
    out = known->second;
    return 0;
  }
  cudaDeviceProp p{};
  const Status status = done(cudaGetDeviceProperties(&p, device));
  if (status) return status;
  out.name = p.name;
  out.processors = p.multiProcessorCount;
  out.arch = 10 * p.major + p.minor;
  out.memory = static_cast<int64_t>(p.totalGlobalMem);
  out.l2 = p.l2CacheSize;
  out.shared = static_cast<int64_t>(p.sharedMemPerBlockOptin);
  out.shared_per_sm = static_cast<int64_t>(p.sharedMemPerMultiprocessor);
  found[device] = out;
  return 0;
}

const char* built_for() { return SURPRISAL_BUILT_FOR; }
Status loaded_code(LoadedCode& out) {
  Probed found[2];
  const void* const probes[2] = {features_probe(), arch_probe()};
  for (int i = 0; i < 2; ++i) {
    cudaFuncAttributes told{};
    if (const Status status = done(cudaFuncGetAttributes(&told, probes[i]))) return status;
    found[i] = {told.ptxVersion, told.binaryVersion, told.maxThreadsPerBlock};
  }
  out = code_from(found[0], found[1]);
  return 0;
}

const char* error_name(Status status) { return cudaGetErrorName(static_cast<cudaError_t>(status)); }
const char* error_text(Status status) {
  return cudaGetErrorString(static_cast<cudaError_t>(status));
}

Status current_device(int* device) { return done(cudaGetDevice(device)); }
Status use_device(int device) { return done(cudaSetDevice(device)); }

Status stream_create(void** stream) {
  return done(
      cudaStreamCreateWithFlags(reinterpret_cast<cudaStream_t*>(stream), cudaStreamNonBlocking));
}
Status stream_synchronize(void* stream) { return done(cudaStreamSynchronize(stream_of(stream))); }
Status stream_query(void* stream) { return done(cudaStreamQuery(stream_of(stream))); }
Status stream_device(void* stream, int* device) {
  return done(cudaStreamGetDevice(stream_of(stream), device));
}
Status stream_wait(void* stream, void* event) {
  return done(cudaStreamWaitEvent(stream_of(stream), event_of(event), 0));
}
Status event_create(void** event) {
  return done(cudaEventCreateWithFlags(reinterpret_cast<cudaEvent_t*>(event),
                                       cudaEventDisableTiming | cudaEventBlockingSync));
}
Status event_record(void* event, void* stream) {
  return done(cudaEventRecord(event_of(event), stream_of(stream)));
}
Status event_query(void* event) { return done(cudaEventQuery(event_of(event))); }
Status event_synchronize(void* event) { return done(cudaEventSynchronize(event_of(event))); }

Status pool_create(int device, void** pool) {
  cudaMemPoolProps props{};
  props.allocType = cudaMemAllocationTypePinned;
  props.handleTypes = cudaMemHandleTypeNone;
  props.location.type = cudaMemLocationTypeDevice;
  props.location.id = device;
  Status status = done(cudaMemPoolCreate(reinterpret_cast<cudaMemPool_t*>(pool), &props));
  if (status) return status;
  return pool_keep(*pool, INT64_MAX);
}
Status pool_trim(void* pool) {
  return done(cudaMemPoolTrimTo(static_cast<cudaMemPool_t>(pool), 0));
}
Status pool_keep(void* pool, int64_t bytes) {
  uint64_t keep = static_cast<uint64_t>(bytes);
  return done(cudaMemPoolSetAttribute(static_cast<cudaMemPool_t>(pool),
                                      cudaMemPoolAttrReleaseThreshold, &keep));
}
Status pool_share(void* pool, int device) {
  cudaMemAccessDesc access{};
  access.location.type = cudaMemLocationTypeDevice;
  access.location.id = device;
  access.flags = cudaMemAccessFlagsProtReadWrite;
  return done(cudaMemPoolSetAccess(static_cast<cudaMemPool_t>(pool), &access, 1));
}
Status allocate(void** out, int64_t bytes, void* pool, void* stream) {
  return done(cudaMallocFromPoolAsync(out, static_cast<size_t>(bytes),
                                      static_cast<cudaMemPool_t>(pool), stream_of(stream)));
}
Status release(void* memory, void* stream) {
  return done(cudaFreeAsync(memory, stream_of(stream)));
}
Status memory_info(int64_t* free, int64_t* total) {
  size_t f = 0, t = 0;
  const Status status = done(cudaMemGetInfo(&f, &t));
  *free = static_cast<int64_t>(f);
  *total = static_cast<int64_t>(t);
  return status;
}
Status host_allocate(void** out, int64_t bytes) {
  return done(cudaHostAlloc(out, static_cast<size_t>(bytes), cudaHostAllocPortable));
}
Status host_release(void* memory) { return done(cudaFreeHost(memory)); }
void retire(void*, void*) {}
void reuse(void*, int64_t, void*) {}

Status copy(void* to, const void* from, int64_t bytes, void* stream) {
  return done(
      cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream_of(stream)));
}
Status copy_peer(void* to, int to_device, const void* from, int from_device, int64_t bytes,
                 void* stream) {
  return done(cudaMemcpyPeerAsync(to, to_device, from, from_device, static_cast<size_t>(bytes),
                                  stream_of(stream)));
}
Status fill(void* to, int value, int64_t bytes, void* stream) {
  return done(cudaMemsetAsync(to, value, static_cast<size_t>(bytes), stream_of(stream)));
}

Status launch(const void* kernel, const Shape& shape, void** arguments,
              void (*)(const void*, void**), const size_t*, int, int device, void* stream) {
  const Status status = prepare(kernel, shape, device);
  if (status) return status;
  cudaLaunchAttribute attributes[2] = {};
  unsigned count_of_attributes = 0;
  if (shape.cluster > 1) {
    cudaLaunchAttribute& cluster = attributes[count_of_attributes++];
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = static_cast<unsigned>(shape.cluster);
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
  }
  if (shape.together) {
    cudaLaunchAttribute& together = attributes[count_of_attributes++];
    together.id = cudaLaunchAttributeCooperative;
    together.val.cooperative = 1;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = static_cast<size_t>(shape.shared);
  config.stream = stream_of(stream);
  config.attrs = attributes;
  config.numAttrs = count_of_attributes;
  return done(cudaLaunchKernelExC(&config, kernel, arguments));
}

Status capture_begin(void* stream) {
  return done(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeRelaxed));
}
Status capture_end(void* stream, void** graph) {
  cudaGraph_t captured = nullptr;
  Status status = done(cudaStreamEndCapture(stream_of(stream), &captured));
  if (status) return status;
  cudaGraphExec_t executable = nullptr;
  status = done(cudaGraphInstantiate(&executable, captured, 0));
  cudaGraphDestroy(captured);
  *graph = executable;
  return status;
}
Status graph_launch(void* graph, void* stream) {
  return done(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(stream)));
}
Status graph_destroy(void* graph) {
  return done(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)));
}

bool inject(const Injection&) { return false; }
int64_t calls() { return call_count.load(std::memory_order_relaxed); }
int64_t pending() { return 0; }

}  // namespace surprisal::cuda::driver
