#pragma once
#include "node/bind.h"

namespace surprisal::node {

struct SetThreads {
  int32_t threads = 1;
};
struct Query {
  View out;  // float64: threads, scratch live, cached and peak bytes, CPU target
  bool reset_peak = false;
};
struct Trim {};
struct HugePages {
  View buffer;
};

void bind_system(Module& m, napi_env env, napi_value exports);

}  // namespace surprisal::node
