#include "cuda/graph.h"

#include <algorithm>
#include <cstring>

#include "cuda/context.h"
#include "cuda/error.h"
#include "cuda/reader.h"

namespace surprisal::cuda {
namespace {

thread_local std::vector<Context*> capturing_here;

}  // namespace

Graph::Graph(Context& c) : context(c), pool(std::make_shared<Pool>(c)), arena(c) {}

Graph::~Graph() {
  const std::lock_guard<std::recursive_mutex> lock(context.mutex);
  if (executable_) driver::graph_destroy(executable_);
  // Host memory is not freed in stream order, and a replay may still be copying from it.
  if (!host_.empty()) driver::stream_synchronize(context.stream());
  for (void* memory : host_) driver::host_release(memory);
  // Under the lock, too: somebody's capture would record what is given back to the driver.
  arena.release();
  held_.clear();
  owners_.clear();
  pool = nullptr;
}

void Graph::begin(Context& context) {
  context.expect_alive();
  std::unique_lock<std::recursive_mutex> lock(context.mutex);
  if (context.capture) refuse_in_capture("another capture cannot start");
  // The reader's thread needs the lock to finish its reads, and operations may have to wait for
  // them.
  while (context.reads > 0) {
    lock.unlock();
    Reader::instance().wait_for_all(context);
    lock.lock();
  }
  const DeviceGuard guard(context);
  context.enter();
  // Memory is allocated and freed on the upload stream now: after all that was enqueued before.
  context.order(context.stream(), context.upload_stream());
  auto graph = std::make_shared<Graph>(context);
  context.check(driver::capture_begin(context.stream()), "cuda.graph");
  lock.release();
  context.capture = std::move(graph);
  context.capturing = true;
  capturing_here.push_back(&context);
}

std::shared_ptr<Graph> Graph::end(Context& context) {
  const auto here = std::find(capturing_here.begin(), capturing_here.end(), &context);
  if (here == capturing_here.end()) throw Error(Code::internal, "cuda.graph: no capture has begun");
  const Entered entered(context);
  capturing_here.erase(here);
  const std::shared_ptr<Graph> graph = std::move(context.capture);
  context.capture = nullptr;
  context.capturing = false;
  context.mutex.unlock();  // that of `begin`
  context.check(driver::capture_end(context.stream(), &graph->executable_), "cuda.graph");
  context.order(context.upload_stream(), context.stream());
  return graph;
}

void Graph::abandon() {
  while (!capturing_here.empty()) {
    try {
      end(*capturing_here.back());
    } catch (const Error&) {
      // Nobody is left to tell.
    }
  }
}

void Graph::launch() {
  context.expect_alive();
  // It writes to what it wrote to before, which somebody may be reading.
  if (context.reads > 0) Reader::instance().let_go_of_all(context);
  const Entered entered(context);
  if (context.capture) refuse_in_capture("a graph cannot be launched");
  context.expect_faults();
  context.check(driver::graph_launch(executable_, context.stream()), "cuda.graph");
}

void Graph::hold(const std::shared_ptr<Block>& block) {
  // The graph's own memory must be free to be reused within the capture.
  if (block->pool == pool || (!held_.empty() && held_.back() == block)) return;
  held_.push_back(block);
}

void* Graph::keep_host(const void* from, int64_t bytes) {
  void* memory = nullptr;
  context.check(driver::host_allocate(&memory, bytes), "page-locked memory");
  host_.push_back(memory);
  std::memcpy(memory, from, static_cast<size_t>(bytes));
  return memory;
}

}  // namespace surprisal::cuda
