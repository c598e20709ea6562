// What the process and the machine offer: threads, instruction set, scratch memory, huge pages.
#include "node/system.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "cpu/target.h"

namespace surprisal::node {
namespace {

void set_threads(const SetThreads& op) { set_num_threads(op.threads); }

void query(const Query& op) {
  double* out = op.out.as<double>();
  require(op.out.size == 5, "systemQuery: out holds 5 numbers");
  out[0] = num_threads();
  out[1] = static_cast<double>(scratch_live_bytes());
  out[2] = static_cast<double>(scratch_cached_bytes());
  out[3] = static_cast<double>(scratch_peak_bytes(op.reset_peak));
  out[4] = static_cast<double>(cpu_target());
}

void trim(const Trim&) { scratch_trim(); }

void huge_pages(const HugePages& op) {
  if (op.buffer.data) advise_huge(op.buffer.data, op.buffer.size * size_of(op.buffer.dtype));
}

// Telling V8 of memory that is not there makes it collect at once, on this thread.
napi_value collect_garbage(napi_env env, napi_callback_info) {
  int64_t adjusted;
  constexpr int64_t kPressure = int64_t{8} << 30;
  napi_adjust_external_memory(env, kPressure, &adjusted);
  napi_adjust_external_memory(env, -kPressure, &adjusted);
  return nullptr;
}

}  // namespace

void bind_system(Module& m, napi_env env, napi_value exports) {
  m.def<SetThreads, set_threads>("systemSetThreads", {SP_FIELD(SetThreads, threads)});
  m.def<Query, query>("systemQuery", {SP_FIELD(Query, out), SP_FIELD(Query, reset_peak)});
  m.def<Trim, trim>("systemTrim", {});
  m.def<HugePages, huge_pages>("systemHugePages", {SP_FIELD(HugePages, buffer)});
  napi_value collect, target, available;
  napi_create_function(env, "collectGarbage", NAPI_AUTO_LENGTH, collect_garbage, nullptr, &collect);
  napi_set_named_property(env, exports, "collectGarbage", collect);
  napi_create_string_utf8(env, cpu_target_name(), NAPI_AUTO_LENGTH, &target);
  napi_set_named_property(env, exports, "cpuTarget", target);
  napi_create_string_utf8(env, cpu_targets_available(), NAPI_AUTO_LENGTH, &available);
  napi_set_named_property(env, exports, "cpuTargets", available);
}

}  // namespace surprisal::node
