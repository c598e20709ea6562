// Captured graphs as external values.
#if defined(SURPRISAL_CUDA)
#include "core/check.h"
#include "cuda/context.h"
#include "cuda/graph.h"
#include "node/bind.h"
#include "node/device.h"

namespace surprisal::node {
namespace {

struct GraphHandle {
  static constexpr uint64_t kMagic = 0x73757270'67726170;
  uint64_t magic = kMagic;
  std::shared_ptr<cuda::Graph> graph;  // null once freed
};

GraphHandle& handle(const Call& call) {
  void* data = nullptr;
  napi_get_value_external(call.env, call.values[0], &data);
  auto* found = static_cast<GraphHandle*>(data);
  if (!found || found->magic != GraphHandle::kMagic)
    throw Error(Code::invalid_type, "native: expected graph to be a captured graph");
  return *found;
}

napi_value begin_capture(const Call& call) {
  cuda::Graph::begin(cuda::Context::of(call.device(0)));
  return nullptr;
}

napi_value end_capture(const Call& call) {
  auto made = std::make_unique<GraphHandle>();
  made->graph = cuda::Graph::end(cuda::Context::of(call.device(0)));
  napi_value out;
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<GraphHandle*>(data); };
  if (napi_create_external(call.env, made.get(), finalize, nullptr, &out) != napi_ok)
    throw Error(Code::internal, "native: no external value can be made");
  made.release();
  return out;
}

napi_value launch_graph(const Call& call) {
  const GraphHandle& found = handle(call);
  if (!found.graph) throw Error(Code::internal, "cuda.graph: the graph has been freed");
  found.graph->launch();
  return nullptr;
}

napi_value free_graph(const Call& call) {
  handle(call).graph = nullptr;
  return nullptr;
}

}  // namespace

void bind_device_graphs(napi_env env, napi_value exports) {
  define<begin_capture>(env, exports, "graphBegin");
  define<end_capture>(env, exports, "graphEnd");
  define<launch_graph>(env, exports, "graphLaunch");
  define<free_graph>(env, exports, "graphFree");
  // A worker that is terminated in the middle of a capture would leave the device locked, and one
  // inside of withStream its stream to the others.
  napi_add_env_cleanup_hook(
      env,
      [](void*) {
        cuda::Graph::abandon();
        cuda::Context::forget_streams();
      },
      nullptr);
}

}  // namespace surprisal::node
#endif
