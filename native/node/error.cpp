#include "node/error.h"

#include <new>
#include <string>

#include "core/check.h"
#include "node/bind.h"

namespace surprisal::node {
namespace {

const char* code_name(Code code) {
  switch (code) {
    case Code::out_of_range:
      return "ERR_OUT_OF_RANGE";
    case Code::invalid_value:
      return "ERR_INVALID_VALUE";
    case Code::invalid_type:
      return "ERR_INVALID_TYPE";
    case Code::out_of_memory:
      return "ERR_OUT_OF_MEMORY";
    default:
      return "ERR_INTERNAL";
  }
}

napi_value make(napi_env env, Code code, const std::string& text) {
  napi_value code_value, message, error = nullptr;
  napi_create_string_utf8(env, code_name(code), NAPI_AUTO_LENGTH, &code_value);
  napi_create_string_utf8(env, text.c_str(), text.size(), &message);
  switch (code) {
    case Code::out_of_range:
    case Code::invalid_value:
      napi_create_range_error(env, code_value, message, &error);
      break;
    case Code::invalid_type:
      napi_create_type_error(env, code_value, message, &error);
      break;
    default:
      napi_create_error(env, code_value, message, &error);
  }
  return error;
}

void set_number(napi_env env, napi_value object, const char* name, int64_t value) {
  napi_value number;
  if (object && napi_create_int64(env, value, &number) == napi_ok)
    napi_set_named_property(env, object, name, number);
}

}  // namespace

napi_value to_js_error(napi_env env, std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (const OutOfMemory& e) {
    napi_value made = make(env, e.code(), e.what());
    set_number(env, made, "requested", e.requested);
    set_number(env, made, "free", e.free);
    set_number(env, made, "total", e.total);
    return made;
  } catch (const Error& e) {
    return make(env, e.code(), e.what());
  } catch (const std::bad_alloc&) {
    return make(env, Code::out_of_memory, "out of memory");
  } catch (const std::exception& e) {
    return make(env, Code::internal, e.what());
  } catch (...) {
    return make(env, Code::internal, "unknown native error");
  }
}

void throw_current(napi_env env) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) return;
  napi_value error = to_js_error(env, std::current_exception());
  if (error) napi_throw(env, error);
}

}  // namespace surprisal::node
