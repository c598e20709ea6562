#include "node/device.h"

#include "core/check.h"
#include "node/bind.h"
#if defined(SURPRISAL_EMULATOR)
#include <thread>

#include "node/dlpack_abi.h"
#endif
#if defined(SURPRISAL_CUDA)
#include "cuda/context.h"
#include "cuda/error.h"
#include "cuda/graph.h"
#include "cuda/reader.h"
#include "node/promise.h"
#endif

namespace surprisal::node {
namespace {

[[noreturn]] void expected(const char* name, const char* what) {
  throw Error(Code::invalid_type, std::string("native: expected ") + name + " to be " + what);
}

void set(napi_env env, napi_value object, const char* name, double value) {
  napi_value number;
  napi_create_double(env, value, &number);
  napi_set_named_property(env, object, name, number);
}
void set(napi_env env, napi_value object, const char* name, bool value) {
  napi_value flag;
  napi_get_boolean(env, value, &flag);
  napi_set_named_property(env, object, name, flag);
}
void set(napi_env env, napi_value object, const char* name, const std::string& value) {
  napi_value text;
  napi_create_string_utf8(env, value.c_str(), value.size(), &text);
  napi_set_named_property(env, object, name, text);
}

// What was found and, where no device can be used, why. Never throws.
napi_value status(const Call& call) {
  napi_env env = call.env;
  napi_value out, devices;
  napi_create_object(env, &out);
  napi_create_array(env, &devices);
  int driver_version = 0, runtime_version = 0, error = 0;
  bool built = false, emulated = false;
  std::string reason = "this build of surprisal has no CUDA code";
#if defined(SURPRISAL_CUDA)
  const cuda::driver::Versions versions = cuda::driver::versions();
  built = true;
  emulated = versions.emulated;
  driver_version = versions.driver;
  runtime_version = versions.runtime;
  error = versions.error;
  reason = cuda::missing_reason(versions);
  for (int i = 0; reason.empty() && i < versions.devices; ++i) {
    cuda::Properties p;
    error = cuda::driver::properties(i, p);
    if (error) {
      reason = cuda::describe(error);
      break;
    }
    napi_value device;
    napi_create_object(env, &device);
    set(env, device, "reason", cuda::missing_code(cuda::driver::built_for(), p.name, p.arch));
    set(env, device, "name", p.name);
    set(env, device, "arch", static_cast<double>(p.arch));
    set(env, device, "processors", static_cast<double>(p.processors));
    set(env, device, "memory", static_cast<double>(p.memory));
    set(env, device, "l2", static_cast<double>(p.l2));
    set(env, device, "shared", static_cast<double>(p.shared));
    napi_set_element(env, devices, static_cast<uint32_t>(i), device);
  }
#endif
  set(env, out, "built", built);
  set(env, out, "emulated", emulated);
  set(env, out, "driver", static_cast<double>(driver_version));
  set(env, out, "runtime", static_cast<double>(runtime_version));
  set(env, out, "error", static_cast<double>(error));
  set(env, out, "reason", reason);
  napi_set_named_property(env, out, "devices", devices);
  return out;
}

}  // namespace

napi_value call_entry(napi_env env, napi_callback_info info, Entry entry) {
  Call call{env, {}};
  size_t count = Call::kMost;
  napi_get_cb_info(env, info, &count, call.values, nullptr, nullptr);
  try {
    return entry(call);
  } catch (...) {
    throw_current(env);
    return nullptr;
  }
}

bool Call::is_absent(size_t i) const {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, values[i], &type);
  return type == napi_undefined || type == napi_null;
}
int64_t Call::integer(size_t i, const char* name) const {
  int64_t out = 0;
  if (napi_get_value_int64(env, values[i], &out) != napi_ok) expected(name, "an integer");
  return out;
}
uint64_t Call::address(size_t i, const char* name) const {
  uint64_t out = 0;
  bool lossless = false;
  if (napi_get_value_bigint_uint64(env, values[i], &out, &lossless) != napi_ok || !lossless)
    expected(name, "an address (bigint)");
  return out;
}
std::string Call::text(size_t i, const char* name) const {
  char buffer[128];
  size_t length = 0;
  if (napi_get_value_string_utf8(env, values[i], buffer, sizeof buffer, &length) != napi_ok)
    expected(name, "a string");
  return std::string(buffer, length);
}
bool Call::flag(size_t i) const {
  bool out = false;
  napi_get_value_bool(env, values[i], &out);
  return out;
}
DType Call::dtype(size_t i) const {
  const std::string name = text(i, "dtype");
  for (int t = 0; t <= static_cast<int>(DType::boolean); ++t)
    if (name == name_of(static_cast<DType>(t))) return static_cast<DType>(t);
  expected("dtype", "the name of a dtype");
}
View Call::array(size_t i, const char* name) const {
  View out;
  bool typed = false;
  if (napi_is_typedarray(env, values[i], &typed) != napi_ok || !typed)
    expected(name, "a typed array");
  read(env, values[i], out, name);
  return out;
}
DeviceMemory& Call::memory(size_t i, const char* name) const {
  void* data = nullptr;
  napi_get_value_external(env, values[i], &data);
  auto* memory = static_cast<DeviceMemory*>(data);
  if (!memory || memory->magic != DeviceMemory::kMagic) expected(name, "memory of a device tensor");
  return *memory;
}
DeviceMemory& Call::live_memory(size_t i, const char* name) const {
  DeviceMemory& found = memory(i, name);
  if (found.freed) expected(name, "memory that has not been freed");
  return found;
}

#if defined(SURPRISAL_CUDA)
namespace {

using cuda::Context;
using cuda::Entered;

// What this thread's JavaScript holds and has not freed.
thread_local std::vector<DeviceMemory*> held;

// Without this V8 sees a few bytes a tensor and collects too late. But it answers each 64 MB of
// growth with a collection of some milliseconds, and a training step grows by gigabytes and falls
// back: it is told of changes that matter to the device.
void tell_v8(napi_env env, const DeviceMemory& memory, int64_t change) {
  thread_local int64_t untold = 0;
  untold += change;
  const int64_t matters = Context::of(memory.device).properties.memory / 32;
  if (untold < matters && untold > -matters) return;
  int64_t adjusted;
  napi_adjust_external_memory(env, untold, &adjusted);
  untold = 0;
}

void free_memory(napi_env env, DeviceMemory& memory) {
  if (memory.freed) return;
  memory.freed = true;
  memory.data = nullptr;
  tell_v8(env, memory, -memory.bytes());
  if (memory.block) memory.block->context.follow_caller();
  memory.block = nullptr;
  held[memory.place] = held.back();
  held[memory.place]->place = memory.place;
  held.pop_back();
  napi_delete_reference(env, memory.weak);
}

// Garbage collection clears weak references at once, but runs finalizers only when the event loop
// turns: a loop that never yields would keep everything that it drops.
napi_value sweep(const Call& call) {
  constexpr size_t kAtOnce = 1024;  // handles
  for (size_t end = held.size(); end > 0;) {
    const size_t begin = end > kAtOnce ? end - kAtOnce : 0;
    napi_handle_scope scope;
    if (napi_open_handle_scope(call.env, &scope) != napi_ok) break;
    // From the back: freeing one moves the last into its place, which has been looked at.
    for (size_t i = end; i-- > begin;) {
      napi_value value = nullptr;
      if (napi_get_reference_value(call.env, held[i]->weak, &value) == napi_ok && !value)
        free_memory(call.env, *held[i]);
    }
    napi_close_handle_scope(call.env, scope);
    end = begin;
  }
  return nullptr;
}

napi_value allocate(const Call& call) {
  auto memory = std::make_unique<DeviceMemory>();
  memory->device = call.device(0);
  memory->dtype = call.dtype(1);
  memory->size = call.integer(2, "size");
  require(memory->size >= 0 && memory->size <= (int64_t{1} << 53), "native: size out of range");
  Context& context = Context::of(memory->device);
  context.expect_alive();
  if (memory->size > 0) {
    const Entered entered(context);
    memory->block = context.allocate(memory->bytes(), true);
    memory->data = memory->block->data;
  }
  return make_device_memory(call.env, std::move(memory));
}

napi_value free(const Call& call) {
  free_memory(call.env, call.memory(0, "memory"));
  return nullptr;
}

// Memory of somebody else; `keepAlive` lives until it is freed here and work that uses it is done.
napi_value from_pointer(const Call& call) {
  auto memory = std::make_unique<DeviceMemory>();
  memory->device = call.device(0);
  const uint64_t address = call.address(1, "pointer");
  memory->dtype = call.dtype(2);
  memory->size = call.integer(3, "size");
  require(memory->size >= 0, "native: size out of range");
  if (address == 0 && memory->size > 0)
    throw Error(Code::invalid_value, "native: a null pointer has no elements");
  Context& context = Context::of(memory->device);
  context.expect_alive();
  if (memory->size > 0) {
    memory->data = reinterpret_cast<void*>(address);
    memory->block =
        std::make_shared<cuda::Block>(context, nullptr, memory->data, memory->bytes(), false);
    if (!call.is_absent(4)) memory->block->owner = pin(call.env, call.values[4]);
  }
  return make_device_memory(call.env, std::move(memory));
}

napi_value pointer(const Call& call) {
  napi_value out;
  const auto address = reinterpret_cast<uint64_t>(call.live_memory(0, "memory").data);
  napi_create_bigint_uint64(call.env, address, &out);
  return out;
}

#if defined(SURPRISAL_EMULATOR)
napi_value inject(const Call& call) {
  cuda::driver::Injection injection;
  napi_value capacity, failure, seed, room;
  napi_get_named_property(call.env, call.values[0], "capacity", &capacity);
  napi_get_named_property(call.env, call.values[0], "failNext", &failure);
  napi_get_value_int64(call.env, capacity, &injection.capacity);
  napi_get_named_property(call.env, call.values[0], "hostRoom", &room);
  napi_get_value_int64(call.env, room, &injection.host_room);
  napi_get_named_property(call.env, call.values[0], "seed", &seed);
  napi_get_value_int64(call.env, seed, &injection.seed);
  napi_value ended;
  bool whole;
  uint64_t address = 0;
  napi_get_named_property(call.env, call.values[0], "endStream", &ended);
  napi_get_value_bigint_uint64(call.env, ended, &address, &whole);
  injection.end_stream = reinterpret_cast<void*>(address);
  char name[32] = "";
  napi_get_value_string_utf8(call.env, failure, name, sizeof name, nullptr);
  const std::string wanted = name;
  if (wanted == "illegal address") injection.fail_next = 700;
  if (wanted == "launch failure") injection.fail_next = 719;
  if (wanted == "device reset") injection.fail_next = 709;
  if (wanted == "contained error") injection.fail_next = 226;
  cuda::driver::inject(injection);
  return nullptr;
}

// What the driver says of two probes -> the architecture that plans count on
napi_value code_from(const Call& call) {
  const auto probed = [&](size_t i) {
    const View said = call.array(i, "probed");
    const auto* at = said.as<int32_t>();
    return cuda::Probed{at[0], at[1], at[2]};
  };
  napi_value out;
  napi_create_int32(call.env, cuda::planned_arch(cuda::code_from(probed(0), probed(1))), &out);
  return out;
}

// How much work waits to be run: whoever waits for the device finds none left.
napi_value pending(const Call& call) {
  napi_value out;
  napi_create_int64(call.env, cuda::driver::pending(), &out);
  return out;
}

// A stream as another library might have one, of device 0 or the one given.
napi_value make_stream(const Call& call) {
  const cuda::DeviceGuard guard(Context::of(call.is_absent(0) ? 0 : call.device(0)));
  void* stream = nullptr;
  cuda::driver::stream_create(&stream);
  napi_value out;
  napi_create_bigint_uint64(call.env, reinterpret_cast<uint64_t>(stream), &out);
  return out;
}

// (stream, to, from, bytes): a copy that another library enqueues, by pointers that it knows.
napi_value foreign_copy(const Call& call) {
  const auto pointer = [&](size_t i) {
    return reinterpret_cast<void*>(call.address(i, "pointer"));
  };
  const cuda::DeviceGuard guard(Context::of(0));
  Context::of(0).check(
      cuda::driver::copy(pointer(1), pointer(2), call.integer(3, "bytes"), pointer(0)), "copy");
  return nullptr;
}

// The end of what another library has taken over by DLPack, on a thread of its own.
napi_value foreign_end(const Call& call) {
  const uint64_t address = call.address(0, "address");
  const bool versioned = call.flag(1);
  const auto end = [](auto* managed) { managed->deleter(managed); };
  std::thread([&] {
    if (versioned) return end(reinterpret_cast<dlpack::ManagedVersioned*>(address));
    end(reinterpret_cast<dlpack::Managed*>(address));
  }).join();
  return nullptr;
}
#endif

}  // namespace

napi_value make_device_memory(napi_env env, std::unique_ptr<DeviceMemory> memory) {
  napi_value out;
  const auto finalize = [](napi_env e, void* data, void*) {
    auto* dropped = static_cast<DeviceMemory*>(data);
    free_memory(e, *dropped);
    delete dropped;
  };
  if (napi_create_external(env, memory.get(), finalize, nullptr, &out) != napi_ok ||
      napi_create_reference(env, out, 0, &memory->weak) != napi_ok)
    throw Error(Code::internal, "native: no external value can be made");
  memory->place = held.size();
  held.push_back(memory.get());
  tell_v8(env, *memory, memory->bytes());
  memory.release();
  return out;
}

void prepare_use(const DeviceMemory& memory) {
  if (!memory.block) return;
  if (memory.block->readers > 0) cuda::Reader::instance().let_go_of(*memory.block);
  Context& context = memory.block->context;
  if (!context.capturing) return;
  const Entered entered(context);
  if (context.capture) context.capture->hold(memory.block);
}

#endif

void bind_device(napi_env env, napi_value exports) {
  define<status>(env, exports, "deviceStatus");
#if defined(SURPRISAL_CUDA)
  define<allocate>(env, exports, "deviceAllocate");
  define<free>(env, exports, "deviceFree");
  define<sweep>(env, exports, "deviceSweep");
  define<from_pointer>(env, exports, "deviceFromPointer");
  define<pointer>(env, exports, "devicePointer");
#if defined(SURPRISAL_EMULATOR)
  define<code_from>(env, exports, "deviceCodeFrom");
  define<foreign_copy>(env, exports, "deviceForeignCopy");
  define<foreign_end>(env, exports, "deviceForeignEnd");
  define<inject>(env, exports, "deviceInject");
  define<pending>(env, exports, "devicePending");
  define<make_stream>(env, exports, "deviceMakeStream");
#endif
  bind_device_state(env, exports);
  bind_device_values(env, exports);
  bind_device_graphs(env, exports);
#endif
}

}  // namespace surprisal::node
