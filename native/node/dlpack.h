#pragma once
#include "node/device.h"

namespace surprisal::node {

void bind_dlpack(napi_env env, napi_value exports);

}  // namespace surprisal::node
