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
#include <vector>

#include "core/view.h"

namespace surprisal::node {

struct Field {
  std::string name;
  void (*set)(napi_env env, napi_value value, void* op, const char* name);
};

void read(napi_env env, napi_value value, View& out, const char* name);
void read(napi_env env, napi_value value, Dims& out, const char* name);
void read(napi_env env, napi_value value, int64_t& out, const char* name);
void read(napi_env env, napi_value value, int32_t& out, const char* name);
void read(napi_env env, napi_value value, double& out, const char* name);
void read(napi_env env, napi_value value, float& out, const char* name);
void read(napi_env env, napi_value value, bool& out, const char* name);

template <class Op, auto Member>
Field field(const char* member) {
  std::string camel;
  for (const char* c = member; *c; ++c) {
    if (*c == '_' && c[1]) {
      camel += static_cast<char>(*++c - 'a' + 'A');
    } else {
      camel += *c;
    }
  }
  return {camel, [](napi_env env, napi_value value, void* op, const char* name) {
            read(env, value, static_cast<Op*>(op)->*Member, name);
          }};
}

// `label_smoothing` in C++ is `labelSmoothing` in JavaScript.
#define SP_FIELD(Op, member) ::surprisal::node::field<Op, &Op::member>(#member)

struct Function {
  std::string name;
  std::vector<Field> fields;

  void read_all(napi_env env, napi_callback_info info, void* op) const;
};

// Turns the exception in flight into a pending JavaScript exception.
void throw_current(napi_env env);
struct Task {
  virtual ~Task() = default;
  virtual void run() = 0;
};

// Runs `task` on a background thread; the promise settles on the JS thread. `arguments` are kept
// alive until then.
napi_value run_async(napi_env env, napi_callback_info info, std::unique_ptr<Task> task);

class Module {
 public:
  Module(napi_env env, napi_value exports) : env_(env), exports_(exports) {}

  template <class Op, void (*Run)(const Op&)>
  void def(const char* name, std::initializer_list<Field> fields) {
    add(new Function{name, fields}, call<Op, Run>, call_async<Op, Run>);
  }

 private:
  void add(Function* function, napi_callback call, napi_callback call_async);

  template <class Op, void (*Run)(const Op&)>
  static napi_value call(napi_env env, napi_callback_info info) {
    try {
      void* data = nullptr;
      napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
      Op op{};
      static_cast<const Function*>(data)->read_all(env, info, &op);
      Run(op);
    } catch (...) {
      throw_current(env);
    }
    return nullptr;
  }

  template <class Op, void (*Run)(const Op&)>
  static napi_value call_async(napi_env env, napi_callback_info info) {
    struct OpTask : Task {
      Op op{};
      void run() override { Run(op); }
    };
    try {
      void* data = nullptr;
      napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
      auto task = std::make_unique<OpTask>();
      static_cast<const Function*>(data)->read_all(env, info, &task->op);
      return run_async(env, info, std::move(task));
    } catch (...) {
      throw_current(env);
      return nullptr;
    }
  }

  napi_env env_;
  napi_value exports_;
};

}  // namespace surprisal::node
