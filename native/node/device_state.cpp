// What a device has and does as a whole: bytes in use, memory kept for the next, the stream that
// work goes to.
#if defined(SURPRISAL_CUDA)
#include <mutex>
#include <utility>

#include "core/check.h"
#include "cuda/context.h"
#include "node/device.h"

namespace surprisal::node {
namespace {

using cuda::Context;
using cuda::Entered;

napi_value memory_use(const Call& call) {
  Context& context = Context::of(call.device(0));
  context.expect_alive();
  const Entered entered(context);
  const cuda::MemoryUse use = context.memory_use(call.flag(1));
  napi_value out;
  napi_create_object(call.env, &out);
  const std::pair<const char*, int64_t> fields[] = {
      {"live", use.live},         {"peak", use.peak},       {"reserved", use.reserved},
      {"recycled", use.recycled}, {"scratch", use.scratch}, {"scratchPeak", use.scratch_peak},
      {"free", use.free},         {"total", use.total}};
  for (const auto& [name, value] : fields) {
    napi_value number;
    napi_create_double(call.env, static_cast<double>(value), &number);
    napi_set_named_property(call.env, out, name, number);
  }
  return out;
}

napi_value trim(const Call& call) {
  Context& context = Context::of(call.device(0));
  context.expect_alive();
  const Entered entered(context);
  context.trim();
  return nullptr;
}

// (device, bytes that are kept at most)
napi_value limit_recycled(const Call& call) {
  Context& context = Context::of(call.device(0));
  context.expect_alive();
  const int64_t bytes = call.integer(1, "bytes");
  require(bytes >= 0, "native: bytes out of range");
  const Entered entered(context);
  context.limit_recycled(bytes);
  return nullptr;
}

napi_value set_stream(const Call& call) {
  Context& context = Context::of(call.device(0));
  context.expect_alive();
  const cuda::DeviceGuard guard(context);
  // Not entered: the stream that is left may have been destroyed.
  const std::lock_guard<std::recursive_mutex> lock(context.mutex);
  context.set_stream(call.is_absent(1) ? context.own_stream()
                                       : reinterpret_cast<void*>(call.address(1, "stream")));
  return nullptr;
}

// The stream that this thread's operations go to, for libraries that take one or wait for it.
napi_value stream(const Call& call) {
  Context& context = Context::of(call.device(0));
  napi_value out;
  napi_create_bigint_uint64(call.env, reinterpret_cast<uint64_t>(context.stream_here()), &out);
  return out;
}

// The architecture that plans count on, on a device.
napi_value code(const Call& call) {
  napi_value out;
  napi_create_int32(call.env, Context::of(call.device(0)).properties.arch, &out);
  return out;
}

// The same for a device of a compute capability and the code that was compiled: what is expected.
// (capability, architectures: those of this build)
napi_value code_for(const Call& call) {
  const std::string built =
      call.is_absent(1) ? cuda::driver::built_for() : call.text(1, "architectures");
  const auto capability = static_cast<int>(call.integer(0, "capability"));
  napi_value out;
  napi_create_int32(call.env, cuda::planned_arch(cuda::code_for(built, capability)), &out);
  return out;
}

// Where the operation that has just run out of memory can be called again; -1 for nowhere.
napi_value repeatable(const Call& call) {
  napi_value out;
  napi_create_int32(call.env, cuda::repeatable_device(), &out);
  return out;
}

// How many calls of the driver there have been: what an operation costs, in tests.
napi_value calls(const Call& call) {
  napi_value out;
  napi_create_int64(call.env, cuda::driver::calls(), &out);
  return out;
}

}  // namespace

void bind_device_state(napi_env env, napi_value exports) {
  define<memory_use>(env, exports, "deviceMemory");
  define<trim>(env, exports, "deviceTrim");
  define<limit_recycled>(env, exports, "deviceLimitRecycled");
  define<set_stream>(env, exports, "deviceSetStream");
  define<stream>(env, exports, "deviceStream");
  define<code>(env, exports, "deviceCode");
  define<code_for>(env, exports, "deviceCodeFor");
  define<repeatable>(env, exports, "deviceRepeatable");
  define<calls>(env, exports, "deviceCalls");
}

}  // namespace surprisal::node
#endif
