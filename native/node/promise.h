// Promises that other threads settle. Each environment (the main thread, every worker) has one
// thread-safe function; an environment that ends first lets every source of promises drop what is
// queued for it and wait for what is running, because that writes into memory which dies with it.
#pragma once
#include <napi.h>

#include <exception>
#include <memory>

namespace surprisal::node {

struct Environment;
Environment* environment_of(napi_env env);

// What is known of a promise until it is settled.
struct Settlement {
  virtual ~Settlement() = default;
  Environment* environment = nullptr;
  napi_deferred deferred = nullptr;
  napi_ref kept = nullptr;  // keeps the values alive that the work uses
  std::exception_ptr error;
};

// Makes the promise and, for a failure on the way, throws. `begin` once the work has been handed
// over: the event loop then waits for it.
napi_value promise_for(napi_env env, Settlement& settlement, napi_value kept);
void begin(napi_env env, Environment* environment);
// From any thread.
void settle(std::unique_ptr<Settlement> settlement);

// Keeps a value alive until the last copy of what it gives is gone, on whatever thread that is.
std::shared_ptr<void> pin(napi_env env, napi_value value);

// `drain` is called before an environment ends.
void at_close(void (*drain)(Environment* environment));

}  // namespace surprisal::node
