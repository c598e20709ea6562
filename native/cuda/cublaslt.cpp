#include "cuda/cublaslt.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>
#if !defined(_WIN32)
#include <dlfcn.h>
#endif

namespace surprisal::cuda {
namespace {

// Of cuBLASLt's interface (versions 12 and 13), what is used here; names as in its manual.
using Status = int;  // 0: success
struct Algo {
  uint64_t data[8];
};
struct HeuristicResult {
  Algo algo;
  size_t workspace;
  Status state;
  float waves;
  int reserved[4];
};
enum : int { kTransA = 3, kTransB = 4 };                               // MATMUL_DESC_
enum : int { kBatchCount = 5, kBatchOffset = 6 };                      // MATRIX_LAYOUT_
enum : int { kMaxWorkspace = 1, kReductionMask = 3, kAlignment = 5 };  // MATMUL_PREF_, A to D
constexpr uint32_t kNoAtomics = 2;  // REDUCTION_SCHEME_COMPUTE_TYPE: parts are added by a kernel
constexpr int64_t kWorkspace = int64_t{32} << 20;

struct Library {
  Status (*create)(void** handle);
  Status (*desc_create)(void** desc, int compute, int scale);
  Status (*desc_set)(void* desc, int attribute, const void* value, size_t bytes);
  Status (*desc_destroy)(void* desc);
  Status (*layout_create)(void** layout, int type, uint64_t rows, uint64_t columns, int64_t ld);
  Status (*layout_set)(void* layout, int attribute, const void* value, size_t bytes);
  Status (*layout_destroy)(void* layout);
  Status (*preference_create)(void** preference);
  Status (*preference_set)(void* preference, int attribute, const void* value, size_t bytes);
  Status (*preference_destroy)(void* preference);
  Status (*heuristic)(void* handle, void* desc, void* a, void* b, void* c, void* d,
                      void* preference, int wanted, HeuristicResult* results, int* found);
  Status (*matmul)(void* handle, void* desc, const void* alpha, const void* a, void* a_layout,
                   const void* b, void* b_layout, const void* beta, const void* c, void* c_layout,
                   void* d, void* d_layout, const Algo* algo, void* workspace, size_t bytes,
                   void* stream);
};

#if !defined(_WIN32)
const Library* load() {
  const char* wanted = std::getenv("SURPRISAL_CUBLASLT");
  if (!wanted || std::strcmp(wanted, "1") != 0) return nullptr;
  void* file = nullptr;
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12"})
    if (!file) file = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!file) return nullptr;
  static Library library;
  bool all = true;
  const auto find = [&](auto& function, const char* name) {
    void* at = dlsym(file, name);
    all = all && at;
    std::memcpy(&function, &at, sizeof at);
  };
  find(library.create, "cublasLtCreate");
  find(library.desc_create, "cublasLtMatmulDescCreate");
  find(library.desc_set, "cublasLtMatmulDescSetAttribute");
  find(library.desc_destroy, "cublasLtMatmulDescDestroy");
  find(library.layout_create, "cublasLtMatrixLayoutCreate");
  find(library.layout_set, "cublasLtMatrixLayoutSetAttribute");
  find(library.layout_destroy, "cublasLtMatrixLayoutDestroy");
  find(library.preference_create, "cublasLtMatmulPreferenceCreate");
  find(library.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  find(library.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  find(library.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  find(library.matmul, "cublasLtMatmul");
  return all ? &library : nullptr;
}
#else
const Library* load() { return nullptr; }
#endif

// Owns one of the library's descriptors.
struct Owned {
  void* p = nullptr;
  Status (*destroy)(void*) = nullptr;
  ~Owned() {
    if (p) destroy(p);
  }
};

int type_of(DType dtype) {  // cudaDataType
  switch (dtype) {
    case DType::f64:
      return 1;
    case DType::f16:
      return 2;
    case DType::bf16:
      return 14;
    default:
      return 0;
  }
}

uint32_t alignment_of(const void* p) {
  const auto low = static_cast<uint64_t>(reinterpret_cast<uintptr_t>(p) | 256);
  return static_cast<uint32_t>(low & ~(low - 1));
}

// The library's matrices are by columns: it multiplies Bᵀ·Aᵀ, which by columns are B and A as they
// lie, into the transpose of the output.
struct Call {
  const Library& lib;
  Owned desc, a, b, out, preference;
  bool fine = true;

  void ask(Status status) { fine = fine && status == 0; }

  void layout(Owned& to, const Product& p, int64_t rows, int64_t columns, int64_t step) {
    ask(lib.layout_create(&to.p, type_of(p.dtype), static_cast<uint64_t>(columns),
                          static_cast<uint64_t>(rows), columns));
    to.destroy = lib.layout_destroy;
    const auto batch = static_cast<int32_t>(p.batch);
    if (!fine) return;
    ask(lib.layout_set(to.p, kBatchCount, &batch, sizeof batch));
    ask(lib.layout_set(to.p, kBatchOffset, &step, sizeof step));
  }

  Call(const Library& library, const Product& p) : lib(library) {
    const bool wide = p.dtype == DType::f64;
    constexpr int kCompute32 = 68, kCompute64 = 70;  // without tf32
    ask(lib.desc_create(&desc.p, wide ? kCompute64 : kCompute32, wide ? 1 : 0));
    desc.destroy = lib.desc_destroy;
    const int32_t first = p.transpose_b, second = p.transpose_a;
    if (fine) ask(lib.desc_set(desc.p, kTransA, &first, sizeof first));
    if (fine) ask(lib.desc_set(desc.p, kTransB, &second, sizeof second));
    layout(a, p, p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k, p.a_step);
    layout(b, p, p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n, p.b_step);
    layout(out, p, p.m, p.n, p.m * p.n);
    ask(lib.preference_create(&preference.p));
    preference.destroy = lib.preference_destroy;
    if (!fine) return;
    const uint64_t workspace = kWorkspace;
    ask(lib.preference_set(preference.p, kMaxWorkspace, &workspace, sizeof workspace));
    ask(lib.preference_set(preference.p, kReductionMask, &kNoAtomics, sizeof kNoAtomics));
    const uint32_t alignment[] = {alignment_of(p.b), alignment_of(p.a), alignment_of(p.out),
                                  alignment_of(p.out)};
    for (int i = 0; i < 4; ++i)
      ask(lib.preference_set(preference.p, kAlignment + i, &alignment[i], sizeof alignment[i]));
  }
};

using Key = std::tuple<int, DType, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, bool, bool,
                       bool, uint32_t, uint32_t, uint32_t>;
struct Choice {
  bool found;
  Algo algo;
};

// What stays for the life of the process: a handle a device, an algorithm a shape.
struct Memory {
  std::mutex mutex;
  std::map<int, void*> handles;
  std::map<Key, Choice> choices;
};

Choice choose(const Library& lib, void* handle, const Call& call) {
  HeuristicResult result{};
  int found = 0;
  const Status status = lib.heuristic(handle, call.desc.p, call.b.p, call.a.p, call.out.p,
                                      call.out.p, call.preference.p, 1, &result, &found);
  return {status == 0 && found == 1 && result.state == 0, result.algo};
}

const Library* library() {
  static const Library* const loaded = load();
  return loaded;
}

}  // namespace

bool has_library() { return library() != nullptr; }

bool multiply_by_library(const Product& p, Stream& stream) {
  const Library* const lib = library();
  constexpr int64_t kMost = int64_t{1} << 31;
  if (!lib || !stream.handle() || p.k == 0 || p.m >= kMost || p.n >= kMost || p.k >= kMost ||
      p.batch >= kMost) {
    return false;
  }
  const Call call(*lib, p);
  if (!call.fine) return false;
  static Memory& memory = *new Memory;
  const std::lock_guard<std::mutex> lock(memory.mutex);
  void*& handle = memory.handles[stream.device()];
  if (!handle && lib->create(&handle) != 0) return false;
  const Key key{stream.device(),
                p.dtype,
                p.m,
                p.n,
                p.k,
                p.batch,
                p.a_step,
                p.b_step,
                p.transpose_a,
                p.transpose_b,
                p.accumulate,
                alignment_of(p.a),
                alignment_of(p.b),
                alignment_of(p.out)};
  auto choice = memory.choices.find(key);
  if (choice == memory.choices.end())
    choice = memory.choices.emplace(key, choose(*lib, handle, call)).first;
  if (!choice->second.found) return false;
  void* workspace = stream.scratch_bytes(kWorkspace);
  const double wide_scale[] = {1, p.accumulate ? 1.0 : 0.0};
  const float scale[] = {1, p.accumulate ? 1.0f : 0.0f};
  const bool wide = p.dtype == DType::f64;
  const void* alpha = wide ? static_cast<const void*>(wide_scale) : scale;
  const void* beta = wide ? static_cast<const void*>(wide_scale + 1) : scale + 1;
  const Status status =
      lib->matmul(handle, call.desc.p, alpha, p.b, call.b.p, p.a, call.a.p, beta, p.out, call.out.p,
                  p.out, call.out.p, &choice->second.algo, workspace, kWorkspace, stream.handle());
  require(status == 0, "matmul: cuBLASLt refused a product that it had an algorithm for");
  return true;
}

}  // namespace surprisal::cuda
