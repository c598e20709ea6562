#include "node/promise.h"

#include <map>
#include <mutex>
#include <vector>

#include "core/check.h"
#include "node/bind.h"
#include "node/error.h"

namespace surprisal::node {

struct Environment {
  uint64_t id = 0;  // never given twice, as addresses are
  napi_env env = nullptr;
  napi_threadsafe_function notify = nullptr;
  int pending = 0;
};

namespace {

struct Drains {
  std::mutex mutex;
  std::vector<void (*)(Environment*)> all;
};
Drains& drains() {
  static auto* instance = new Drains;
  return *instance;
}

// For threads that come back to an environment which may have ended.
struct Alive {
  std::mutex mutex;
  std::map<uint64_t, Environment*> by_id;
  uint64_t ids = 0;
};
Alive& alive() {
  static auto* instance = new Alive;
  return *instance;
}

void settle_here(napi_env env, Settlement* raw) {
  const std::unique_ptr<Settlement> settlement(raw);
  Environment* environment = settlement->environment;
  if (!settlement->deferred) {
    napi_delete_reference(env, settlement->kept);
    return;
  }
  if (--environment->pending == 0) napi_unref_threadsafe_function(env, environment->notify);
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_delete_reference(env, settlement->kept);
  if (settlement->error) {
    napi_reject_deferred(env, settlement->deferred, to_js_error(env, settlement->error));
  } else {
    napi_value undefined;
    napi_get_undefined(env, &undefined);
    napi_resolve_deferred(env, settlement->deferred, undefined);
  }
  napi_close_handle_scope(env, scope);
}

void on_done(napi_env env, napi_value, void*, void* data) {
  auto* settlement = static_cast<Settlement*>(data);
  if (env) {
    settle_here(env, settlement);
  } else {
    delete settlement;  // the environment is gone, and its promises with it
  }
}

thread_local std::vector<Environment*> environments;

void close(void* data) {
  auto* environment = static_cast<Environment*>(data);
  for (size_t i = 0; i < environments.size(); ++i)
    if (environments[i] == data) environments.erase(environments.begin() + i);
  std::vector<void (*)(Environment*)> all;
  {
    std::lock_guard<std::mutex> lock(drains().mutex);
    all = drains().all;
  }
  for (auto* drain : all) drain(environment);
  {
    std::lock_guard<std::mutex> lock(alive().mutex);
    alive().by_id.erase(environment->id);
  }
  napi_release_threadsafe_function(environment->notify, napi_tsfn_abort);
  delete environment;
}

}  // namespace

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
  napi_add_env_cleanup_hook(env, close, environment);
  environments.push_back(environment);
  std::lock_guard<std::mutex> lock(alive().mutex);
  environment->id = ++alive().ids;
  alive().by_id[environment->id] = environment;
  return environment;
}

std::shared_ptr<void> pin(napi_env env, napi_value value) {
  auto settlement = std::make_unique<Settlement>();
  Environment* environment = environment_of(env);
  settlement->environment = environment;
  if (napi_create_reference(env, value, 1, &settlement->kept) != napi_ok)
    throw Error(Code::invalid_type, "native: expected an object to keep alive");
  return std::shared_ptr<void>(settlement.release(), [id = environment->id](void* pinned) {
    std::unique_ptr<Settlement> over(static_cast<Settlement*>(pinned));
    std::lock_guard<std::mutex> lock(alive().mutex);
    if (alive().by_id.count(id)) settle(std::move(over));
  });
}

napi_value promise_for(napi_env env, Settlement& settlement, napi_value kept) {
  settlement.environment = environment_of(env);
  napi_value promise;
  if (napi_create_reference(env, kept, 1, &settlement.kept) != napi_ok ||
      napi_create_promise(env, &settlement.deferred, &promise) != napi_ok)
    throw Error(Code::internal, "native: no promise can be made");
  return promise;
}

napi_value settled(napi_env env, bool failed) {
  napi_deferred deferred;
  napi_value promise, undefined;
  napi_get_undefined(env, &undefined);
  if (napi_create_promise(env, &deferred, &promise) != napi_ok)
    throw Error(Code::internal, "native: no promise can be made");
  if (failed) {
    napi_reject_deferred(env, deferred, to_js_error(env, std::current_exception()));
  } else {
    napi_resolve_deferred(env, deferred, undefined);
  }
  return promise;
}

void begin(napi_env env, Environment* environment) {
  if (environment->pending++ == 0) napi_ref_threadsafe_function(env, environment->notify);
}

void settle(std::unique_ptr<Settlement> settlement) {
  // The call cannot block (the queue is unbounded) and fails only when the environment closes.
  if (napi_call_threadsafe_function(settlement->environment->notify, settlement.get(),
                                    napi_tsfn_nonblocking) == napi_ok)
    settlement.release();
}

void at_close(void (*drain)(Environment* environment)) {
  std::lock_guard<std::mutex> lock(drains().mutex);
  drains().all.push_back(drain);
}

}  // namespace surprisal::node
