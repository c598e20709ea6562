// Python within this process, for tests that hand memory to its libraries and back: run(path of
// libpython, program) gives whether the program ended well. The interpreter lives as long as the
// process. Between programs nobody holds its lock: what frees Python's memory may do so anywhere.
#include <dlfcn.h>
#include <node_api.h>

#include <string>

namespace {

std::string text_of(napi_env env, napi_value value) {
  size_t size = 0;
  napi_get_value_string_utf8(env, value, nullptr, 0, &size);
  std::string text(size, 0);
  napi_get_value_string_utf8(env, value, text.data(), size + 1, &size);
  return text;
}

template <class F>
F function(void* library, const char* name) {
  return reinterpret_cast<F>(dlsym(library, name));
}

void* open(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (!library) return nullptr;
  function<void (*)(int)>(library, "Py_InitializeEx")(0);
  function<void* (*)()>(library, "PyEval_SaveThread")();
  return library;
}

napi_value run(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value given[2];
  napi_get_cb_info(env, info, &count, given, nullptr, nullptr);
  static void* const library = open(text_of(env, given[0]));
  bool fine = false;
  if (library) {
    const int state = function<int (*)()>(library, "PyGILState_Ensure")();
    const std::string program = text_of(env, given[1]);
    fine = function<int (*)(const char*)>(library, "PyRun_SimpleString")(program.c_str()) == 0;
    function<void (*)(int)>(library, "PyGILState_Release")(state);
  }
  napi_value result;
  napi_get_boolean(env, fine, &result);
  return result;
}

}  // namespace

NAPI_MODULE_INIT() {
  napi_value f;
  napi_create_function(env, "run", NAPI_AUTO_LENGTH, run, nullptr, &f);
  napi_set_named_property(env, exports, "run", f);
  return exports;
}
