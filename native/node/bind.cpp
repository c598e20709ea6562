#include "node/bind.h"

#include <new>

#include "core/check.h"
#include "node/device_memory.h"

namespace surprisal::node {
namespace {

constexpr size_t kMaxFields = 48;

[[noreturn]] void expected(const char* name, const char* what) {
  throw Error(Code::invalid_type, std::string("native: expected ") + name + " to be " + what);
}

bool is_absent(napi_env env, napi_value value) {
  napi_valuetype type;
  napi_typeof(env, value, &type);
  return type == napi_undefined || type == napi_null;
}

DType dtype_of(napi_typedarray_type type, const char* name) {
  switch (type) {
    case napi_float32_array:
      return DType::f32;
    case napi_float64_array:
      return DType::f64;
    case napi_int16_array:
      return DType::f16;
    case napi_uint16_array:
      return DType::bf16;
    case napi_int32_array:
      return DType::i32;
    case napi_bigint64_array:
      return DType::i64;
    case napi_uint8_array:
      return DType::u8;
    case napi_int8_array:
      return DType::boolean;
    default:
      expected(name, "a typed array that stands for a dtype");
  }
}

}  // namespace

// An empty array has no memory of its own; kernels still must see it as present.
alignas(64) static char nothing[64];

static void read_device_memory(napi_env env, napi_value value, View& out, const char* name) {
  void* data = nullptr;
  napi_get_value_external(env, value, &data);
  const auto* memory = static_cast<const DeviceMemory*>(data);
  if (!memory || memory->magic != DeviceMemory::kMagic) expected(name, "memory of a device tensor");
  if (memory->freed) expected(name, "memory that has not been freed");
#if defined(SURPRISAL_CUDA)
  prepare_use(*memory);
#endif
  out = {memory->size > 0 ? memory->data : nothing, memory->dtype, memory->size, memory->device};
}

void read(napi_env env, napi_value value, View& out, const char* name) {
  napi_typedarray_type type;
  size_t length;
  void* data;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok) {
    napi_valuetype kind;
    napi_typeof(env, value, &kind);
    if (kind == napi_undefined || kind == napi_null) return;
    if (kind == napi_external) return read_device_memory(env, value, out, name);
    expected(name, "a typed array");
  }
  out.dtype = dtype_of(type, name);
  out.size = static_cast<int64_t>(length);
  out.data = length ? data : nothing;
}

void read(napi_env env, napi_value value, Views& out, const char* name) {
  if (is_absent(env, value)) return;
  uint32_t length = 0;
  if (napi_get_array_length(env, value, &length) != napi_ok) expected(name, "an array of tensors");
  out.resize(length);
  for (uint32_t i = 0; i < length; ++i) {
    napi_value element;
    if (napi_get_element(env, value, i, &element) != napi_ok) expected(name, "an array of tensors");
    read(env, element, out[i], name);
  }
}

void read(napi_env env, napi_value value, Dims& out, const char* name) {
  if (is_absent(env, value)) return;
  uint32_t length = 0;
  if (napi_get_array_length(env, value, &length) != napi_ok) expected(name, "an array of integers");
  if (length > kMaxRank) expected(name, "of at most 8 dimensions");
  out.rank = static_cast<int>(length);
  for (uint32_t i = 0; i < length; ++i) {
    // Stays null where the environment is being terminated, which the next call refuses.
    napi_value element = nullptr;
    napi_get_element(env, value, i, &element);
    if (napi_get_value_int64(env, element, &out.size[i]) != napi_ok)
      expected(name, "an array of integers");
  }
}

void read(napi_env env, napi_value value, double& out, const char* name) {
  if (napi_get_value_double(env, value, &out) == napi_ok || is_absent(env, value)) return;
  expected(name, "a number");
}
void read(napi_env env, napi_value value, float& out, const char* name) {
  double wide = out;
  read(env, value, wide, name);
  out = static_cast<float>(wide);
}
void read(napi_env env, napi_value value, int64_t& out, const char* name) {
  if (napi_get_value_int64(env, value, &out) == napi_ok || is_absent(env, value)) return;
  expected(name, "an integer");
}
void read(napi_env env, napi_value value, int32_t& out, const char* name) {
  if (napi_get_value_int32(env, value, &out) == napi_ok || is_absent(env, value)) return;
  expected(name, "an integer");
}
void read(napi_env env, napi_value value, bool& out, const char* name) {
  if (napi_get_value_bool(env, value, &out) == napi_ok || is_absent(env, value)) return;
  expected(name, "a boolean");
}

void misplaced(const char* name, bool host) {
  expected(name, host ? "in host memory" : "on the same device as the other tensors");
}

int Function::read_all(napi_env env, napi_callback_info info, void* op) const {
  napi_value values[kMaxFields];
  size_t count = fields.size();  // Node would fill the rest
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  int device = kUnset;
  for (size_t i = 0; i < fields.size() && i < count; ++i)
    fields[i].member.read(env, values[i], op, fields[i].name.c_str(), &device);
  return device == kUnset ? kCpu : device;
}

// `label_smoothing` in C++ is `labelSmoothing` in JavaScript.
static std::string camel_case(const char* name) {
  std::string camel;
  for (const char* c = name; *c; ++c)
    camel += *c == '_' && c[1] ? static_cast<char>(*++c - 'a' + 'A') : *c;
  return camel;
}

void Module::add(const char* name, std::initializer_list<Member> members, napi_callback call,
                 napi_callback call_async) {
  require(members.size() <= kMaxFields, "native: an operation has too many fields");
  auto* function = new Function{name, {}};
  for (const Member& member : members)
    function->fields.push_back({camel_case(member.name), member});
  // The environment owns the table: worker threads come and go.
  napi_add_env_cleanup_hook(
      env_, [](void* data) { delete static_cast<Function*>(data); }, function);
  napi_value entry, sync, async, names;
  napi_create_object(env_, &entry);
  napi_create_function(env_, function->name.c_str(), NAPI_AUTO_LENGTH, call, function, &sync);
  napi_create_function(env_, function->name.c_str(), NAPI_AUTO_LENGTH, call_async, function,
                       &async);
  napi_create_array_with_length(env_, function->fields.size(), &names);
  for (size_t i = 0; i < function->fields.size(); ++i) {
    napi_value field;
    napi_create_string_utf8(env_, function->fields[i].name.c_str(), NAPI_AUTO_LENGTH, &field);
    napi_set_element(env_, names, static_cast<uint32_t>(i), field);
  }
  napi_set_named_property(env_, entry, "call", sync);
  napi_set_named_property(env_, entry, "callAsync", async);
  napi_set_named_property(env_, entry, "fields", names);
  napi_set_named_property(env_, exports_, function->name.c_str(), entry);
}

}  // namespace surprisal::node
