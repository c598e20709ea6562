// How an operation becomes a JavaScript function: a struct of fields, a function that takes it, and
// a table of the fields. JavaScript passes the fields by position in the table's order; the table
// is exported too, so that src/native.ts can take them by name. Each entry gets a synchronous form
// and one that runs on a background thread and settles a promise.
// No function returns a value: results go into views that TypeScript has allocated.
#pragma once
#include <napi.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "core/views.h"
#if defined(SURPRISAL_CUDA)
#include "cuda/runtime.h"
#endif

namespace surprisal::node {

// Of literals only, so that a table of them is data: a table is compiled in little time.
struct Member {
  const char* name;
  // Reads a value into the field; notes in `device` where a view's memory is.
  void (*read)(napi_env env, napi_value value, void* op, const char* name, int* device);
};

void read(napi_env env, napi_value value, View& out, const char* name);
void read(napi_env env, napi_value value, Views& out, const char* name);
void read(napi_env env, napi_value value, Dims& out, const char* name);
void read(napi_env env, napi_value value, int64_t& out, const char* name);
void read(napi_env env, napi_value value, int32_t& out, const char* name);
void read(napi_env env, napi_value value, double& out, const char* name);
void read(napi_env env, napi_value value, float& out, const char* name);
void read(napi_env env, napi_value value, bool& out, const char* name);

// All views of a call lie on one device, except those of SP_HOST_FIELD, which stay on the host.
constexpr int kUnset = -2;  // no view has been read yet
[[noreturn]] void misplaced(const char* name, bool host);
inline void note_device(const View& view, bool host, const char* name, int* device) {
  if (!view) return;
  if (!host && *device == kUnset) *device = view.device;
  if (view.device != (host ? kCpu : *device)) misplaced(name, host);
}

template <class Op, auto Place, bool Host>
void read_member(napi_env env, napi_value value, void* op, const char* name, int* device) {
  auto& out = static_cast<Op*>(op)->*Place;
  read(env, value, out, name);
  if constexpr (std::is_same_v<std::decay_t<decltype(out)>, View>)
    note_device(out, Host, name, device);
  if constexpr (std::is_same_v<std::decay_t<decltype(out)>, Views>)
    for (const View& view : out) note_device(view, Host, name, device);
}

template <class Op, auto Place, bool Host = false>
constexpr Member member(const char* name) {
  return {name, read_member<Op, Place, Host>};
}
#define SP_FIELD(Op, field) ::surprisal::node::member<Op, &Op::field>(#field)
#define SP_HOST_FIELD(Op, field) ::surprisal::node::member<Op, &Op::field, true>(#field)

// The CUDA form of an operation, where the build has one: m.def<Op, run, SP_CUDA(run_cuda)>(...).
#if defined(SURPRISAL_CUDA)
#define SP_CUDA(run) run
#else
#define SP_CUDA(run) nullptr
#endif

struct Function {
  struct Field {
    std::string name;  // in JavaScript
    Member member;
  };
  std::string name;
  std::vector<Field> fields;

  // Gives the device on which the views lie.
  int read_all(napi_env env, napi_callback_info info, void* op) const;
};

// Runs the operation where its tensors are.
template <class Op, void (*Run)(const Op&), auto RunCuda>
void run_on(int device, const Op& op, const std::string& name) {
  if (device == kCpu) return Run(op);
#if defined(SURPRISAL_CUDA)
  if constexpr (!std::is_null_pointer_v<decltype(RunCuda)>) {
    const cuda::Operation on(device);
    return RunCuda(op, on.stream());
  }
#endif
  throw Error(Code::invalid_type, name + ": this operation has no CUDA form yet");
}

// Turns the exception in flight into a pending JavaScript exception.
void throw_current(napi_env env);
struct Task {
  virtual ~Task() = default;
  virtual void run() = 0;
};

// A promise of work that has been enqueued, or of the exception in flight.
napi_value settled(napi_env env, bool failed);
// Runs `task` on a background thread; the promise settles on the JS thread. `arguments` are kept
// alive until then.
napi_value run_async(napi_env env, napi_callback_info info, std::unique_ptr<Task> task);

class Module {
 public:
  Module(napi_env env, napi_value exports) : env_(env), exports_(exports) {}

  // RunCuda: void(const Op&, cuda::Stream&), or nothing.
  template <class Op, void (*Run)(const Op&), auto RunCuda = nullptr>
  void def(const char* name, std::initializer_list<Member> members) {
    add(name, members, call<Op, Run, RunCuda>, call_async<Op, Run, RunCuda>);
  }

 private:
  void add(const char* name, std::initializer_list<Member> members, napi_callback call,
           napi_callback call_async);

  template <class Op, void (*Run)(const Op&), auto RunCuda>
  static napi_value call(napi_env env, napi_callback_info info) {
    try {
      void* data = nullptr;
      napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
      Op op{};
      const auto* function = static_cast<const Function*>(data);
      const int device = function->read_all(env, info, &op);
      run_on<Op, Run, RunCuda>(device, op, function->name);
    } catch (...) {
      throw_current(env);
    }
    return nullptr;
  }

  template <class Op, void (*Run)(const Op&), auto RunCuda>
  static napi_value call_async(napi_env env, napi_callback_info info) {
    struct OpTask : Task {
      Op op{};
      int device = kCpu;
      const Function* function = nullptr;
      void run() override { run_on<Op, Run, RunCuda>(device, op, function->name); }
    };
    try {
      // Also what fails before the operation begins (a device that is lost) is the promise's.
      try {
        void* data = nullptr;
        napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
        auto task = std::make_unique<OpTask>();
        task->function = static_cast<const Function*>(data);
        task->device = task->function->read_all(env, info, &task->op);
        if (task->device == kCpu) return run_async(env, info, std::move(task));
        // Enqueuing takes less time than handing it to another thread.
        task->run();
        return settled(env, false);
      } catch (...) {
        return settled(env, true);
      }
    } catch (...) {
      throw_current(env);
      return nullptr;
    }
  }

  napi_env env_;
  napi_value exports_;
};

}  // namespace surprisal::node
