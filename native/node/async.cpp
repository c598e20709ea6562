// Background execution. A few runner threads take tasks from one queue and each task uses the
// kernel pool like a synchronous call does, so libuv's threads stay free for files and sockets.
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include "core/check.h"
#include "node/bind.h"
#include "node/promise.h"

namespace surprisal::node {
namespace {

struct Pending : Settlement {
  std::unique_ptr<Task> task;
};

class Runners {
 public:
  void push(std::unique_ptr<Pending> pending);
  // Drops the environment's queued tasks and waits until none of its tasks runs.
  void drain(Environment* environment);

 private:
  void loop();

  static constexpr int kRunners = 2;
  std::mutex mutex_;
  std::condition_variable work_, idle_;
  std::deque<std::unique_ptr<Pending>> queue_;
  std::vector<Environment*> running_;
  int started_ = 0;
};

Runners& runners() {
  // Detached threads outlive static destruction.
  static Runners* instance = [] {
    at_close([](Environment* environment) { runners().drain(environment); });
    return new Runners;
  }();
  return *instance;
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
  queue_.push_back(std::move(pending));
  work_.notify_one();
}

void Runners::drain(Environment* environment) {
  std::unique_lock<std::mutex> lock(mutex_);
  std::deque<std::unique_ptr<Pending>> kept;
  for (auto& pending : queue_)
    if (pending->environment != environment) kept.push_back(std::move(pending));
  queue_.swap(kept);
  idle_.wait(lock, [&] {
    for (Environment* busy : running_)
      if (busy == environment) return false;
    return true;
  });
}

void Runners::loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    work_.wait(lock, [&] { return !queue_.empty(); });
    std::unique_ptr<Pending> pending = std::move(queue_.front());
    queue_.pop_front();
    Environment* environment = pending->environment;
    running_.push_back(environment);
    lock.unlock();
    try {
      pending->task->run();
    } catch (...) {
      pending->error = std::current_exception();
    }
    settle(std::move(pending));
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
  napi_value values[48], kept;
  size_t count = 48;
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  if (count > 48) count = 48;
  napi_create_array_with_length(env, count, &kept);
  for (size_t i = 0; i < count; ++i)
    napi_set_element(env, kept, static_cast<uint32_t>(i), values[i]);
  auto pending = std::make_unique<Pending>();
  pending->task = std::move(task);
  napi_value promise = promise_for(env, *pending, kept);
  Environment* environment = pending->environment;
  runners().push(std::move(pending));
  begin(env, environment);
  return promise;
}

}  // namespace surprisal::node
