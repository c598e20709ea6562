// What operations get: cuda/runtime.h over a context.
#include <cstring>

#include "cuda/context.h"
#include "cuda/error.h"
#include "cuda/graph.h"

namespace surprisal::cuda {
namespace {

// The last operation of this thread, and whether it has enqueued what may have changed a tensor.
thread_local int last_device = -1;
thread_local bool last_has_begun = false;

class ContextStream : public Stream {
 public:
  explicit ContextStream(Context& context) : context_(context) {}

  int device() const override { return context_.device; }
  const Properties& properties() const override { return context_.properties; }
  void* handle() const override {
    last_has_begun = true;  // a library enqueues
    return context_.properties.emulated ? nullptr : context_.stream();
  }
  void* scratch_bytes(int64_t bytes) override { return context_.arena().take(bytes); }
  FaultSite fault_site(void (*raise)(const Fault&)) override { return context_.fault_site(raise); }

  void fill_bytes(void* to, int value, int64_t bytes) override {
    if (bytes > 0) context_.check(driver::fill(to, value, bytes, context_.stream()), "fill");
  }
  void copy(void* to, const void* from, int64_t bytes) override {
    if (bytes <= 0) return;
    last_has_begun = true;
    context_.check(driver::copy(to, from, bytes, context_.stream()), "copy");
  }
  void upload(void* to, const void* from, int64_t bytes) override {
    if (bytes <= 0) return;
    if (!context_.capture) return context_.uploads.upload(to, from, bytes);
    // Every replay copies anew, so the bytes must last as long as the graph.
    void* kept = context_.capture->keep_host(from, bytes);
    context_.check(driver::copy(to, kept, bytes, context_.stream()), "upload");
  }
  void launch_kernel(const void* kernel, const Shape& shape, void** arguments,
                     void (*emulate)(const void* kernel, void** arguments), const size_t* sizes,
                     int count) override {
    constexpr int64_t kMostBlocks = (int64_t{1} << 31) - 1;
    require(shape.blocks > 0 && shape.blocks <= kMostBlocks, "cuda: a grid of too many blocks");
    last_has_begun = true;
    // Without clusters in the code each block would take itself for the first, and nothing tells.
    require(shape.cluster == 1 || properties().has_clusters(),
            "cuda: a kernel of clusters, which the code that this device has loaded does not have");
    context_.check(driver::launch(kernel, shape, arguments, emulate, sizes, count, context_.device,
                                  context_.stream()),
                   "launch");
  }

 private:
  Context& context_;
};

}  // namespace

std::unique_ptr<Stream> make_stream(Context& context) {
  return std::make_unique<ContextStream>(context);
}

Operation::Operation(int device) : stream_(nullptr), previous_device_(-1) {
  Context& context = Context::of(device);
  context.expect_alive();
  int now = -1;
  context.check(driver::current_device(&now), "device");
  if (now != device) {
    context.check(driver::use_device(device), "device");
    previous_device_ = now;
  }
  context.mutex.lock();
  try {
    context.enter();
  } catch (...) {
    context.mutex.unlock();
    if (previous_device_ >= 0) driver::use_device(previous_device_);
    throw;
  }
  stream_ = context.operations.get();
  last_device = device;
  last_has_begun = false;
}

int repeatable_device() { return last_has_begun ? -1 : last_device; }

Operation::~Operation() {
  Context& context = Context::of(stream_->device());
  context.arena().reset();
  context.mutex.unlock();
  if (previous_device_ >= 0) driver::use_device(previous_device_);
}

}  // namespace surprisal::cuda
