// C++ exceptions as JavaScript errors with a `code`.
#pragma once
#include <napi.h>

#include <exception>

namespace surprisal::node {

napi_value to_js_error(napi_env env, std::exception_ptr error);

}  // namespace surprisal::node
