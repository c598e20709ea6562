// Background execution. A few runner threads take tasks from one queue and each task uses the
// kernel pool like a synchronous call does, so libuv's threads stay free for files and sockets.
// When an environment ends (a worker is terminated), its queued tasks are dropped and the running
// ones are waited for, because they write into memory that dies with the environment.
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include "core/check.h"
#include "node/bind.h"
#include "node/error.h"

namespace surprisal::node {
namespace {

struct Environment;

struct Pending {
  Environment* environment;
  std::unique_ptr<Task> task;
  napi_deferred deferred = nullptr;
  napi_ref arguments = nullptr;
  std::exception_ptr error;
};

class Runners {
 public:
  void push(std::unique_ptr<Pending> pending);
  // Removes the environment's queued tasks and waits until none of its tasks runs.
  std::deque<Pending*> drain(Environment* environment);

 private:
  void loop();

  static constexpr int kRunners = 2;
  std::mutex mutex_;
  std::condition_variable work_, idle_;
  std::deque<Pending*> queue_;
  std::vector<Environment*> running_;
  int started_ = 0;
};

Runners& runners() {
  static Runners* instance = new Runners;  // detached threads outlive static destruction
  return *instance;
}

struct Environment {
  napi_env env = nullptr;
  napi_threadsafe_function notify = nullptr;
  int pending = 0;
};

void settle(napi_env env, Pending* raw) {
  std::unique_ptr<Pending> pending(raw);
  Environment* environment = pending->environment;
  if (--environment->pending == 0) napi_unref_threadsafe_function(env, environment->notify);
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_delete_reference(env, pending->arguments);
  if (pending->error) {
    napi_reject_deferred(env, pending->deferred, to_js_error(env, pending->error));
  } else {
    napi_value undefined;
    napi_get_undefined(env, &undefined);
    napi_resolve_deferred(env, pending->deferred, undefined);
  }
  napi_close_handle_scope(env, scope);
}

void on_done(napi_env env, napi_value, void*, void* data) {
  auto* pending = static_cast<Pending*>(data);
  if (env) {
    settle(env, pending);
  } else {
    delete pending;  // the environment is gone, and its promises with it
  }
}

void close(void* data) {
  auto* environment = static_cast<Environment*>(data);
  for (Pending* dropped : runners().drain(environment)) delete dropped;
  napi_release_threadsafe_function(environment->notify, napi_tsfn_abort);
  delete environment;
}

thread_local std::vector<Environment*> environments;

Environment* environment_of(napi_env env) {
  for (Environment* known : environments)
    if (known->env == env) return known;
  auto* environment = new Environment;
  environment->env = env;
  napi_value name;
  napi_create_string_utf8(env, "surprisal", NAPI_AUTO_LENGTH, &name);
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr,
                                      on_done, &environment->notify) != napi_ok) {
    delete environment;
    throw Error(Code::internal, "native: this environment takes no more asynchronous work");
  }
  napi_unref_threadsafe_function(env, environment->notify);
  // Cleanup hooks run last in, first out: this one before the thread-safe function's own.
  napi_add_env_cleanup_hook(
      env,
      [](void* data) {
        for (size_t i = 0; i < environments.size(); ++i)
          if (environments[i] == data) environments.erase(environments.begin() + i);
        close(data);
      },
      environment);
  environments.push_back(environment);
  return environment;
}

void Runners::push(std::unique_ptr<Pending> pending) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (started_ < kRunners) {
    try {
      std::thread([this] { loop(); }).detach();
      ++started_;
    } catch (const std::system_error&) {
      // The machine gives no more threads: one runner does, later.
      if (started_ == 0) throw;
    }
  }
  queue_.push_back(pending.get());
  pending.release();
  work_.notify_one();
}

std::deque<Pending*> Runners::drain(Environment* environment) {
  std::unique_lock<std::mutex> lock(mutex_);
  std::deque<Pending*> dropped, kept;
  for (Pending* pending : queue_)
    (pending->environment == environment ? dropped : kept).push_back(pending);
  queue_.swap(kept);
  idle_.wait(lock, [&] {
    for (Environment* busy : running_)
      if (busy == environment) return false;
    return true;
  });
  return dropped;
}

void Runners::loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    work_.wait(lock, [&] { return !queue_.empty(); });
    Pending* pending = queue_.front();
    queue_.pop_front();
    Environment* environment = pending->environment;
    running_.push_back(environment);
    lock.unlock();
    try {
      pending->task->run();
    } catch (...) {
      pending->error = std::current_exception();
    }
    // The call cannot block (the queue is unbounded) and fails only when the environment closes.
    if (napi_call_threadsafe_function(environment->notify, pending, napi_tsfn_nonblocking) !=
        napi_ok)
      delete pending;
    lock.lock();
    for (size_t i = 0; i < running_.size(); ++i) {
      if (running_[i] == environment) {
        running_.erase(running_.begin() + i);
        break;
      }
    }
    idle_.notify_all();
  }
}

}  // namespace

napi_value run_async(napi_env env, napi_callback_info info, std::unique_ptr<Task> task) {
  Environment* environment = environment_of(env);
  napi_value values[48], kept, promise;
  size_t count = 48;
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  if (count > 48) count = 48;
  napi_create_array_with_length(env, count, &kept);
  for (size_t i = 0; i < count; ++i)
    napi_set_element(env, kept, static_cast<uint32_t>(i), values[i]);
  auto pending = std::make_unique<Pending>();
  pending->environment = environment;
  pending->task = std::move(task);
  napi_create_reference(env, kept, 1, &pending->arguments);
  if (napi_create_promise(env, &pending->deferred, &promise) != napi_ok)
    throw Error(Code::internal, "native: no promise can be made");
  runners().push(std::move(pending));
  if (environment->pending++ == 0) napi_ref_threadsafe_function(env, environment->notify);
  return promise;
}

}  // namespace surprisal::node
