// Tensors of other libraries, and ours for them, without a copy where memory is shared: device
// memory both ways, typed arrays outwards. An array of the host is copied inwards, because V8 takes
// no foreign memory everywhere. Addresses travel as bigints; whoever takes one over calls its
// deleter once, and we call the one of what we took when the last work that uses it is done.
#include "node/dlpack.h"

#include <cstring>
#include <vector>

#include "core/check.h"
#include "node/bind.h"
#include "node/dlpack_abi.h"
#include "node/promise.h"
#if defined(SURPRISAL_CUDA)
#include "cuda/context.h"
#include "cuda/driver.h"
#endif

namespace surprisal::node {
namespace {

struct Kind {
  uint8_t code, bits;
};
constexpr Kind kKinds[] = {
    // in the order of DType
    {dlpack::kFloat, 32}, {dlpack::kFloat, 64}, {dlpack::kFloat, 16}, {dlpack::kBfloat, 16},
    {dlpack::kInt, 32},   {dlpack::kInt, 64},   {dlpack::kUInt, 8},   {dlpack::kBool, 8}};

DType dtype_of(const dlpack::DataType& type) {
  for (int t = 0; t <= static_cast<int>(DType::boolean); ++t)
    if (kKinds[t].code == type.code && kKinds[t].bits == type.bits && type.lanes == 1)
      return static_cast<DType>(t);
  throw Error(Code::invalid_type, "fromDLPack: expected a dtype of surprisal, got code " +
                                      std::to_string(type.code) + " with " +
                                      std::to_string(type.bits) + " bits and " +
                                      std::to_string(type.lanes) + " lanes");
}

// What an exported tensor holds on to.
struct Export {
  std::shared_ptr<void> owner;
  std::vector<int64_t> shape, strides;
  dlpack::Managed old{};
  dlpack::ManagedVersioned versioned{};
};

template <class M>
uint64_t handed_over(M& managed, const dlpack::Tensor& tensor, std::unique_ptr<Export> exported) {
  managed.tensor = tensor;
  managed.context = exported.release();
  managed.deleter = [](M* self) { delete static_cast<Export*>(self->context); };
  return reinterpret_cast<uint64_t>(&managed);
}

// The deleter's thread is any, and what has used the memory its stream has waited for.
std::shared_ptr<void> lent_out(const DeviceMemory& memory) {
#if defined(SURPRISAL_CUDA)
  if (memory.block)
    return std::shared_ptr<void>(memory.data,
                                 [block = memory.block](void*) { block->context.follow_caller(); });
#endif
  return memory.block;
}

// (memory or typed array, shape, versioned, readOnly) -> address of a managed tensor
napi_value to_dlpack(const Call& call) {
  auto exported = std::make_unique<Export>();
  Dims shape;
  read(call.env, call.values[1], shape, "shape");
  exported->shape.assign(shape.size, shape.size + shape.rank);
  exported->strides.resize(static_cast<size_t>(shape.rank));
  int64_t stride = 1;
  for (int i = shape.rank; i-- > 0; stride *= shape[i]) exported->strides[i] = stride;
  View view;
  read(call.env, call.values[0], view, "tensor");
  require(view && view.size == shape.count(), "toDLPack: the shape has another number of elements");
  const Kind kind = kKinds[static_cast<int>(view.dtype)];
  const dlpack::Tensor tensor{view.size ? view.data : nullptr,
                              view.device == kCpu ? dlpack::Device{dlpack::kCpu, 0}
                                                  : dlpack::Device{dlpack::kCuda, view.device},
                              shape.rank,
                              {kind.code, kind.bits, 1},
                              exported->shape.data(),
                              exported->strides.data(),
                              0};
  exported->owner =
      view.device == kCpu ? pin(call.env, call.values[0]) : lent_out(call.memory(0, "tensor"));
  uint64_t address;
  if (call.flag(2)) {
    dlpack::ManagedVersioned& managed = exported->versioned;
    managed.version = {dlpack::kMajor, dlpack::kMinor};
    managed.flags = call.flag(3) ? dlpack::kReadOnly : 0;
    address = handed_over(managed, tensor, std::move(exported));
  } else {
    dlpack::Managed& managed = exported->old;
    address = handed_over(managed, tensor, std::move(exported));
  }
  napi_value out;
  napi_create_bigint_uint64(call.env, address, &out);
  return out;
}

int64_t expect_contiguous(const dlpack::Tensor& tensor) {
  int64_t size = 1;
  for (int i = tensor.ndim; i-- > 0;) {
    const int64_t n = tensor.shape[i];
    require(n >= 0 && (size == 0 || n <= (int64_t{1} << 53) / size), "fromDLPack: a size is wrong");
    if (tensor.strides && n > 1 && tensor.strides[i] != size)
      throw Error(Code::invalid_value,
                  "fromDLPack: expected a contiguous row-major tensor; make it contiguous first");
    size *= n;
  }
  return size;
}

template <class M>
std::shared_ptr<void> taken_over(M* managed) {
  return std::shared_ptr<void>(managed, [](void* p) {
    auto* over = static_cast<M*>(p);
    if (over->deleter) over->deleter(over);
  });
}

napi_value copied_to_host(napi_env env, const char* data, DType dtype, int64_t size) {
  constexpr napi_typedarray_type kArrays[] = {
      napi_float32_array, napi_float64_array,  napi_int16_array, napi_uint16_array,
      napi_int32_array,   napi_bigint64_array, napi_uint8_array, napi_int8_array};
  const size_t bytes = static_cast<size_t>(size * size_of(dtype));
  void* to = nullptr;
  napi_value buffer, array;
  if (napi_create_arraybuffer(env, bytes, &to, &buffer) != napi_ok ||
      napi_create_typedarray(env, kArrays[static_cast<int>(dtype)], static_cast<size_t>(size),
                             buffer, 0, &array) != napi_ok)
    throw Error(Code::out_of_memory,
                "out of memory: requested " + std::to_string(bytes) + " bytes on cpu");
  if (bytes) std::memcpy(to, data, bytes);
  return array;
}

#if defined(SURPRISAL_CUDA)
napi_value lent_memory(napi_env env, char* data, DType dtype, int64_t size, int device,
                       std::shared_ptr<void> owner) {
  auto memory = std::make_unique<DeviceMemory>();
  memory->device = device;
  memory->dtype = dtype;
  memory->size = size;
  cuda::Context& context = cuda::Context::of(device);
  context.expect_alive();
  if (size > 0) {
    memory->data = data;
    memory->block = std::make_shared<cuda::Block>(context, nullptr, data, memory->bytes(), false);
    memory->block->owner = std::move(owner);
  }
  return make_device_memory(env, std::move(memory));
}
#endif

// (address, versioned) -> { raw: memory or typed array, shape, dtype, device, readOnly }; -1 is the
// host. After an error the tensor is still the caller's.
napi_value from_dlpack(const Call& call) {
  const uint64_t address = call.address(0, "address");
  require(address != 0, "fromDLPack: expected the address of a managed tensor, got 0");
  const bool versioned = call.flag(1);
  auto* old = reinterpret_cast<dlpack::Managed*>(address);
  auto* managed = reinterpret_cast<dlpack::ManagedVersioned*>(address);
  if (versioned && managed->version.major != dlpack::kMajor)
    throw Error(Code::invalid_value,
                "fromDLPack: expected DLPack 1, got " + std::to_string(managed->version.major));
  const dlpack::Tensor& tensor = versioned ? managed->tensor : old->tensor;
  require(tensor.ndim >= 0 && tensor.ndim <= kMaxRank, "fromDLPack: too many dimensions");
  const DType dtype = dtype_of(tensor.dtype);
  const int64_t size = expect_contiguous(tensor);
  char* data = static_cast<char*>(tensor.data) + tensor.byte_offset;
  const int32_t where = tensor.device.type;
  const bool on_host = where == dlpack::kCpu || where == dlpack::kCudaHost;
  napi_env env = call.env;
  napi_value out, shape, raw = nullptr;
  napi_create_object(env, &out);
  napi_create_array(env, &shape);
  for (int i = 0; i < tensor.ndim; ++i) {
    napi_value n;
    napi_create_int64(env, tensor.shape[i], &n);
    napi_set_element(env, shape, static_cast<uint32_t>(i), n);
  }
  const bool read_only = versioned && (managed->flags & dlpack::kReadOnly);
  const int device = on_host ? kCpu : tensor.device.id;
  if (on_host) {
    raw = copied_to_host(env, data, dtype, size);
    versioned ? taken_over(managed) : taken_over(old);
  } else {
#if defined(SURPRISAL_CUDA)
    if (where != dlpack::kCuda && where != dlpack::kCudaManaged)
      throw Error(Code::invalid_value,
                  "fromDLPack: expected a tensor on the CPU or a CUDA device, "
                  "got DLPack's device " +
                      std::to_string(where));
    cuda::Context::of(device).expect_alive();
    if (reinterpret_cast<uint64_t>(data) % static_cast<uint64_t>(size_of(dtype)) != 0)
      throw Error(Code::invalid_value, "fromDLPack: expected aligned elements");
    raw = lent_memory(env, data, dtype, size, device,
                      versioned ? taken_over(managed) : taken_over(old));
#else
    throw Error(Code::invalid_value,
                "fromDLPack: expected a tensor on the CPU, got DLPack's device " +
                    std::to_string(where) + "; this build of surprisal has no CUDA code");
#endif
  }
  napi_value text, number, flag;
  napi_create_string_utf8(env, name_of(dtype), NAPI_AUTO_LENGTH, &text);
  napi_create_int32(env, device, &number);
  napi_get_boolean(env, read_only, &flag);
  napi_set_named_property(env, out, "raw", raw);
  napi_set_named_property(env, out, "shape", shape);
  napi_set_named_property(env, out, "dtype", text);
  napi_set_named_property(env, out, "device", number);
  napi_set_named_property(env, out, "readOnly", flag);
  return out;
}

}  // namespace

void bind_dlpack(napi_env env, napi_value exports) {
  define<to_dlpack>(env, exports, "deviceToDLPack");
  define<from_dlpack>(env, exports, "deviceFromDLPack");
}

}  // namespace surprisal::node
