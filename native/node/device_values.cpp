// Values between JavaScript's arrays and devices, and waiting for devices.
#if defined(SURPRISAL_CUDA)
#include "core/check.h"
#include "cuda/context.h"
#include "cuda/error.h"
#include "cuda/reader.h"
#include "node/bind.h"
#include "node/device.h"
#include "node/promise.h"

namespace surprisal::node {
namespace {

using cuda::Context;
using cuda::Entered;
using cuda::Reader;

void expect_equal(const DeviceMemory& memory, const View& array, int64_t size) {
  require(array.dtype == memory.dtype, "native: the array stands for another dtype");
  require(array.size == size, "native: the array has another size");
}

napi_value upload(const Call& call) {
  DeviceMemory& to = call.live_memory(0, "memory");
  const View from = call.array(1, "array");
  const int64_t offset = call.is_absent(2) ? 0 : call.integer(2, "elementOffset");
  require(from.dtype == to.dtype, "native: the array stands for another dtype");
  require(offset >= 0 && offset <= to.size && from.size <= to.size - offset,
          "native: the array goes beyond the memory");
  Context& context = Context::of(to.device);
  context.expect_alive();
  if (from.size == 0) return nullptr;
  prepare_use(to);
  const int64_t width = size_of(to.dtype), bytes = from.size * width;
  char* target = static_cast<char*>(to.data) + offset * width;
  for (int64_t done = 0; done < bytes;) {
    void* busy = nullptr;
    int64_t piece = 0;
    {
      const Entered entered(context);
      if (context.capture) cuda::refuse_in_capture("values cannot be uploaded");
      piece = context.uploads.upload_some(target + done, static_cast<char*>(from.data) + done,
                                          bytes - done, &busy);
    }
    // Other threads go on meanwhile. Should one of them record the event anew, the wait is longer.
    if (piece == 0) context.check(cuda::driver::event_synchronize(busy), "upload");
    done += piece;
  }
  return nullptr;
}

napi_value read_sync(const Call& call) {
  const DeviceMemory& from = call.live_memory(0, "memory");
  const View to = call.array(1, "array");
  expect_equal(from, to, from.size);
  cuda::read_now(Context::of(from.device), from.block.get(), to.data, from.bytes());
  return nullptr;
}

// Two holders, because a promise's end belongs to whoever comes first: the read, or the end of the
// environment, which drops the read and with it this.
struct Waiting {
  std::unique_ptr<Settlement> settlement;
};

// Rejects rather than throws: a caller of an asynchronous form looks in one place.
napi_value read_later(napi_env env, Context& context, std::shared_ptr<cuda::Block> block, void* to,
                      int64_t bytes, napi_value kept) {
  static const bool registered =
      (at_close([](Environment* environment) { Reader::instance().drain(environment); }), true);
  static_cast<void>(registered);
  auto waiting = std::make_shared<Waiting>();
  waiting->settlement = std::make_unique<Settlement>();
  napi_value promise = promise_for(env, *waiting->settlement, kept);
  Environment* environment = waiting->settlement->environment;
  try {
    auto read = std::make_unique<cuda::Read>(context, std::move(block), to, bytes, environment,
                                             [waiting](std::exception_ptr error) {
                                               waiting->settlement->error = error;
                                               settle(std::move(waiting->settlement));
                                             });
    Reader::instance().add(std::move(read));
  } catch (...) {
    napi_delete_reference(env, waiting->settlement->kept);
    return settled(env, true);
  }
  begin(env, environment);
  return promise;
}

napi_value read_promise(const Call& call) {
  const DeviceMemory& from = call.live_memory(0, "memory");
  const View to = call.array(1, "array");
  expect_equal(from, to, from.size);
  napi_value kept;
  napi_create_array_with_length(call.env, 2, &kept);
  napi_set_element(call.env, kept, 0, call.values[0]);
  napi_set_element(call.env, kept, 1, call.values[1]);
  return read_later(call.env, Context::of(from.device), from.block, to.data, from.bytes(), kept);
}

napi_value synchronize(const Call& call) {
  if (!call.is_absent(0)) {
    cuda::read_now(Context::of(call.device(0)), nullptr, nullptr, 0);
    return nullptr;
  }
  for (Context* context : Context::all()) cuda::read_now(*context, nullptr, nullptr, 0);
  return nullptr;
}

napi_value synchronize_promise(const Call& call) {
  napi_value kept;
  napi_create_array(call.env, &kept);
  const int device = call.is_absent(0) ? 0 : call.device(0);
  return read_later(call.env, Context::of(device), nullptr, nullptr, 0, kept);
}

// Both streams are made to wait, the source's too: what follows there may overwrite the source.
void copy_across(DeviceMemory& to, const DeviceMemory& from) {
  Context& target = Context::of(to.device);
  Context& source = Context::of(from.device);
  // Two threads that copy opposite ways must not wait for each other.
  std::scoped_lock lock(target.mutex, source.mutex);
  if (target.capture || source.capture)
    cuda::refuse_in_capture("values cannot be copied between devices");
  void* ready = nullptr;
  {
    const cuda::DeviceGuard guard(source);
    source.enter();
    source.share_with(to.device);
    ready = source.record(source.stream());
  }
  void* copied = nullptr;
  {
    const cuda::DeviceGuard guard(target);
    target.enter();
    target.check(cuda::driver::stream_wait(target.stream(), ready), "copy");
    target.check(cuda::driver::copy_peer(to.data, to.device, from.data, from.device, to.bytes(),
                                         target.stream()),
                 "copy");
    copied = target.record(target.stream());
  }
  const cuda::DeviceGuard guard(source);
  source.check(cuda::driver::stream_wait(source.stream(), copied), "copy");
  source.give_event(ready);
  target.give_event(copied);
}

napi_value copy(const Call& call) {
  DeviceMemory& to = call.live_memory(0, "to");
  DeviceMemory& from = call.live_memory(1, "from");
  require(to.dtype == from.dtype && to.size == from.size, "native: copies are of equal tensors");
  Context& context = Context::of(to.device);
  context.expect_alive();
  Context::of(from.device).expect_alive();
  if (to.size == 0) return nullptr;
  prepare_use(to);
  prepare_use(from);
  if (to.device != from.device) {
    copy_across(to, from);
    return nullptr;
  }
  const Entered entered(context);
  context.check(cuda::driver::copy(to.data, from.data, to.bytes(), context.stream()), "copy");
  return nullptr;
}

}  // namespace

void bind_device_values(napi_env env, napi_value exports) {
  define<upload>(env, exports, "deviceUpload");
  define<read_sync>(env, exports, "deviceReadSync");
  define<read_promise>(env, exports, "deviceRead");
  define<copy>(env, exports, "deviceCopy");
  define<synchronize>(env, exports, "deviceSynchronize");
  define<synchronize_promise>(env, exports, "deviceSynchronizeAsync");
}

}  // namespace surprisal::node
#endif
