// cuda/driver.h over the kernel emulator. Streams are queues of work that runs as late as it may:
// when somebody waits, or here and there by chance (SURPRISAL_EMULATOR_SEED), streams interleaved.
// So a missing wait, staging memory reused too early, or a value read too soon gives wrong numbers
// in tests, as it might on a device. SURPRISAL_EMULATOR_EAGER=1 runs work as it is enqueued
// instead, so that a debugger sees whose it is. An access that the emulator refuses becomes error
// 700 with the emulator's words, and stays, as on a device.
#include "cuda/driver.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <unordered_map>
#include <vector>

#include "cuda/emulator/machine.h"
#include "cuda/emulator/memory.h"

namespace surprisal::cuda::driver {
namespace {

constexpr Status kInvalidValue = 1;

constexpr Status kIllegalAddress = 700;

constexpr Status kCaptureUnsupported = 900;
constexpr Status kInvalidCluster = 912;

struct Queue;
// A wait is for the latest record before it, whatever is recorded in the same event afterwards.
struct Record {
  Queue* queue;
  bool done = false;
};
struct Event {
  int device = 0;
  std::shared_ptr<Record> latest;
};
struct Job {
  std::function<void()> run = {};
  std::shared_ptr<Record> wait = {};
};
struct Queue {
  int device = 0;
  std::deque<Job> jobs;
  bool capturing = false;
  std::vector<Job> captured;
};

int64_t number_from(const char* variable, int64_t otherwise) {
  const char* text = std::getenv(variable);
  return text && *text ? std::atoll(text) : otherwise;
}

struct Machine {
  std::recursive_mutex mutex;
  std::vector<Queue*> queues;
  std::mt19937_64 random{emulator::base_seed()};
  const bool eager = number_from("SURPRISAL_EMULATOR_EAGER", 0) != 0;
  int64_t capacity = number_from("SURPRISAL_EMULATOR_MEMORY", int64_t{8} << 30);
  int64_t used = 0, host_room = INT64_MAX;
  std::unordered_map<void*, int64_t> blocks;
  Status fail_next = 0;
  std::map<int, std::pair<Status, std::string>> failed;  // by device
  int64_t calls = 0;

  Status sticky(int device) const {
    const auto found = failed.find(device);
    return found == failed.end() ? 0 : found->second.first;
  }
  void run(Job& job, int device) {
    if (fail_next) failed[device] = {fail_next, "made to fail by a test"};
    fail_next = 0;
    if (sticky(device)) return;
    try {
      if (job.run) job.run();
    } catch (const std::exception& e) {
      failed[device] = {kIllegalAddress, e.what()};
    }
  }
  // Runs the next job of the queue, or of that which it waits for.
  bool step(Queue& queue) {
    if (queue.jobs.empty()) return false;
    Job& front = queue.jobs.front();
    const bool waits = front.wait && !front.wait->done;
    if (waits && !sticky(queue.device) && !sticky(front.wait->queue->device))
      return step(*front.wait->queue);
    Job job = std::move(front);
    queue.jobs.pop_front();
    run(job, queue.device);
    return true;
  }
  void disturb(int one_in) {
    if (queues.empty() || random() % one_in) return;
    step(*queues[random() % queues.size()]);
  }
  void drain(Queue& queue) {
    while (!queue.jobs.empty()) {
      disturb(4);
      step(queue);
    }
  }
  Status add(void* stream, Job job) {
    ++calls;
    if (std::find(queues.begin(), queues.end(), stream) == queues.end()) return kInvalidHandle;
    Queue& queue = *static_cast<Queue*>(stream);
    if (const Status status = sticky(queue.device)) return status;
    if (queue.capturing) {
      queue.captured.push_back(std::move(job));
      return 0;
    }
    queue.jobs.push_back(std::move(job));
    if (eager) {
      drain(queue);
      return sticky(queue.device);
    }
    disturb(16);
    return 0;
  }
};

Machine& machine() {
  static Machine* instance = new Machine;  // threads outlive static destruction
  return *instance;
}

thread_local int current = 0;

// Held while anything of the machine is looked at, kernels included: one runs at a time.
struct Locked {
  Machine& m = machine();
  std::lock_guard<std::recursive_mutex> lock{m.mutex};
  Machine* operator->() const { return &m; }
};

// Of a stream; -1 for a pointer that is none.
int device_of(void* stream) {
  const Locked m;
  const auto& all = m->queues;
  if (std::find(all.begin(), all.end(), stream) == all.end()) return -1;
  return static_cast<Queue*>(stream)->device;
}

}  // namespace

const char* error_name(Status status) {
  switch (status) {
    case kOutOfMemory:
      return "cudaErrorMemoryAllocation";
    case kIllegalAddress:
      return "cudaErrorIllegalAddress";
    case 709:
      return "cudaErrorContextIsDestroyed";
    case 719:
      return "cudaErrorLaunchFailure";
    default:
      return "cudaError";
  }
}
const char* error_text(Status status) {
  const Locked m;
  for (const auto& [device, failure] : m->failed)
    if (failure.first == status) return failure.second.c_str();
  return status == kOutOfMemory ? "out of memory" : "refused by the emulated driver";
}

Status current_device(int* device) {
  *device = current;
  return 0;
}
Status use_device(int device) {
  if (device < 0 || device >= versions().devices) return 101;
  current = device;
  return 0;
}

Status stream_create(void** stream) {
  const Locked m;
  auto* queue = new Queue;
  queue->device = current;
  m->queues.push_back(queue);
  *stream = queue;
  return m->sticky(current);
}
Status stream_synchronize(void* stream) {
  const Locked m;
  ++m->calls;
  m->drain(*static_cast<Queue*>(stream));
  return m->sticky(static_cast<Queue*>(stream)->device);
}
Status stream_query(void* stream) {
  const Locked m;
  ++m->calls;
  const int device = device_of(stream);
  if (device < 0) return kInvalidHandle;
  if (m->sticky(device)) return m->sticky(device);
  return static_cast<Queue*>(stream)->jobs.empty() ? 0 : kNotReady;
}
Status stream_device(void* stream, int* device) {
  const Locked m;
  *device = device_of(stream);
  return *device < 0 ? kInvalidHandle : 0;
}
Status stream_wait(void* stream, void* event) {
  const Locked m;
  return m->add(stream, {nullptr, static_cast<Event*>(event)->latest});
}
Status event_create(void** event) {
  *event = new Event{current, nullptr};
  return 0;
}
Status event_record(void* event, void* stream) {
  const Locked m;
  if (static_cast<Event*>(event)->device != device_of(stream)) return kInvalidHandle;
  auto record = std::make_shared<Record>(Record{static_cast<Queue*>(stream)});
  static_cast<Event*>(event)->latest = record;
  return m->add(stream, {[record] { record->done = true; }, nullptr});
}
Status event_query(void* event) {
  const Locked m;
  ++m->calls;
  const auto record = static_cast<Event*>(event)->latest;
  const int device = static_cast<Event*>(event)->device;
  if (!m->sticky(device) && record && !record->done && m->random() % 2) m->step(*record->queue);
  const Status status = m->sticky(device);
  return status ? status : record && !record->done ? kNotReady : 0;
}
Status event_synchronize(void* event) {
  const Locked m;
  ++m->calls;
  const auto record = static_cast<Event*>(event)->latest;
  const int device = static_cast<Event*>(event)->device;
  while (!m->sticky(device) && record && !record->done && m->step(*record->queue)) m->disturb(4);
  return m->sticky(device);
}

Status pool_create(int, void** pool) {
  static char nothing;
  *pool = &nothing;
  return 0;
}
Status pool_trim(void*) { return 0; }
Status pool_keep(void*, int64_t) { return 0; }
Status pool_share(void*, int) { return 0; }
Status allocate(void** out, int64_t bytes, void*, void* stream) {
  const Locked m;
  ++m->calls;
  if (m->sticky(current)) return m->sticky(current);
  if (device_of(stream) != current) return kInvalidHandle;
  if (m->used + bytes > m->capacity) return kOutOfMemory;
  *out = emulator::allocate(bytes);
  if (!*out) return kOutOfMemory;
  m->used += bytes;
  m->blocks[*out] = bytes;
  return 0;
}
Status release(void* memory, void* stream) {
  const Locked m;
  const auto block = m->blocks.find(memory);
  if (block == m->blocks.end()) return kInvalidValue;
  m->used -= block->second;
  m->blocks.erase(block);
  return m->add(stream, {[memory] { emulator::release(memory); }});
}
Status memory_info(int64_t* free, int64_t* total) {
  const Locked m;
  *total = m->capacity;
  *free = m->capacity > m->used ? m->capacity - m->used : 0;
  return 0;
}
Status host_allocate(void** out, int64_t bytes) {
  const Locked m;
  if (bytes > m->host_room) return kOutOfMemory;
  m->host_room -= bytes;
  *out = std::malloc(static_cast<size_t>(bytes));
  return *out ? 0 : kOutOfMemory;
}
Status host_release(void* memory) {
  std::free(memory);
  return 0;
}
void retire(void* memory, void* stream) {
  const Locked m;
  const int64_t bytes = m->blocks.at(memory);
  m->add(stream, {[=] { emulator::set_state(memory, bytes, emulator::kOutside); }});
  --m->calls;  // no call of a real driver
}
void reuse(void* memory, int64_t bytes, void* stream) {
  const Locked m;
  const int64_t all = m->blocks.at(memory);
  m->add(stream, {[=] {
           emulator::set_state(memory, all, emulator::kOutside);
           emulator::mark_uninitialised(memory, bytes);
         }});
  --m->calls;
}

Status copy(void* to, const void* from, int64_t bytes, void* stream) {
  const Locked m;
  return m->add(stream, {[=] {
                  if (emulator::is_device(from)) emulator::check_range(from, bytes, false);
                  if (emulator::is_device(to)) emulator::check_range(to, bytes, true);
                  std::memmove(to, from, static_cast<size_t>(bytes));
                  if (emulator::is_device(to)) emulator::mark_initialised(to, bytes);
                }});
}
Status copy_peer(void* to, int, const void* from, int, int64_t bytes, void* stream) {
  return copy(to, from, bytes, stream);
}
Status fill(void* to, int value, int64_t bytes, void* stream) {
  const Locked m;
  return m->add(stream, {[=] {
                  emulator::check_range(to, bytes, true);
                  std::memset(to, value, static_cast<size_t>(bytes));
                  emulator::mark_initialised(to, bytes);
                }});
}

Status launch(const void* kernel, const Shape& shape, void** arguments,
              void (*emulate)(const void* kernel, void** arguments), const size_t* sizes, int count,
              int, void* stream) {
  const Locked m;
  if (device_of(stream) != current) return kInvalidHandle;
  // The emulated kernels have clusters whatever the code is said to be.
  LoadedCode code;
  if (shape.cluster > 1 && (loaded_code(code) || code.arch < 90)) return kInvalidCluster;
  // Parameters are aligned as the widest type is.
  std::vector<std::vector<max_align_t>> kept(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    kept[i].resize((sizes[i] + sizeof(max_align_t) - 1) / sizeof(max_align_t));
    std::memcpy(kept[i].data(), arguments[i], sizes[i]);
  }
  // Seed 0 runs threads in order, which is fastest; streams interleave all the same.
  const uint64_t seed = emulator::base_seed() ? m->random() | 1 : 0;
  return m->add(stream, {[=]() mutable {
                  std::vector<void*> pointers;
                  for (auto& k : kept) pointers.push_back(k.data());
                  pointers.push_back(nullptr);
                  emulator::run(kernel, shape, pointers.data(), emulate, seed);
                }});
}

Status capture_begin(void* stream) {
  const Locked m;
  auto* queue = static_cast<Queue*>(stream);
  if (queue->capturing) return kCaptureUnsupported;
  queue->capturing = true;
  return m->sticky(queue->device);
}
Status capture_end(void* stream, void** graph) {
  const Locked m;
  auto* queue = static_cast<Queue*>(stream);
  queue->capturing = false;
  *graph = new std::vector<Job>(std::move(queue->captured));
  queue->captured.clear();
  return m->sticky(queue->device);
}
Status graph_launch(void* graph, void* stream) {
  const Locked m;
  // One job, as a graph is one launch.
  const auto jobs = *static_cast<std::vector<Job>*>(graph);
  return m->add(stream, {[jobs] {
                  for (const Job& job : jobs)
                    if (job.run) job.run();
                }});
}
Status graph_destroy(void* graph) {
  delete static_cast<std::vector<Job>*>(graph);
  return 0;
}

bool inject(const Injection& injection) {
  const Locked m;
  if (injection.capacity >= 0) m->capacity = injection.capacity;
  if (injection.host_room >= 0) m->host_room = injection.host_room;
  if (injection.fail_next) m->fail_next = injection.fail_next;
  auto& all = m->queues;
  all.erase(std::remove(all.begin(), all.end(), injection.end_stream), all.end());
  if (injection.seed >= 0) m->random.seed(static_cast<uint64_t>(injection.seed));
  return true;
}
int64_t calls() {
  const Locked m;
  return m->calls;
}
int64_t pending() {
  const Locked m;
  int64_t jobs = 0;
  for (const Queue* queue : m->queues) jobs += static_cast<int64_t>(queue->jobs.size());
  return jobs;
}

}  // namespace surprisal::cuda::driver
