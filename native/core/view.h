// A non-owning, contiguous, row-major array of known element type. An absent tensor has no data.
// Kernels get shapes as separate integers: a view only knows how many elements it holds.
#pragma once
#include <cstdint>

#include "core/check.h"
#include "core/dtype.h"

namespace surprisal {

namespace cuda {
class Stream;  // what the CUDA form of an operation takes; cuda/runtime.h
}

constexpr int kCpu = -1;

struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t size = 0;
  int device = kCpu;  // or the index of a CUDA device, in whose memory `data` lies

  explicit operator bool() const { return data != nullptr; }

  template <class T>
  T* as() const {
    require(!data || dtype == DTypeOf<T>::value, "view: wrong element type");
    return static_cast<T*>(data);
  }
};

constexpr int kMaxRank = 8;

struct Dims {
  int64_t size[kMaxRank] = {};
  int rank = 0;
  int64_t operator[](int i) const { return size[i]; }
  int64_t count() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= size[i];
    return n;
  }
};

// Calls f(TypeTag<T>) with the element type of a floating-point dtype.
template <class F>
void visit_float(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(TypeTag<float>{});
    case DType::f64:
      return f(TypeTag<double>{});
    case DType::f16:
      return f(TypeTag<Float16>{});
    case DType::bf16:
      return f(TypeTag<BFloat16>{});
    default:
      throw Error(Code::invalid_type, std::string("expected a float dtype, got ") + name_of(dtype));
  }
}

// Calls f(TypeTag<T>) with the element type of an index dtype (int32 or int64).
template <class F>
void visit_index(DType dtype, F&& f) {
  switch (dtype) {
    case DType::i32:
      return f(TypeTag<int32_t>{});
    case DType::i64:
      return f(TypeTag<int64_t>{});
    default:
      throw Error(Code::invalid_type,
                  std::string("expected int32 or int64, got ") + name_of(dtype));
  }
}

// Calls f(TypeTag<T>) for every dtype; 16-bit floats arrive as their storage structs.
template <class F>
void visit_any(DType dtype, F&& f) {
  switch (dtype) {
    case DType::i32:
    case DType::i64:
      return visit_index(dtype, f);
    case DType::u8:
      return f(TypeTag<uint8_t>{});
    case DType::boolean:
      return f(TypeTag<int8_t>{});
    default:
      return visit_float(dtype, f);
  }
}

// Calls f with an unsigned type of the dtype's width: zero bits are 0 in every dtype.
template <class F>
void visit_width(DType dtype, F&& f) {
  switch (size_of(dtype)) {
    case 8:
      return f(TypeTag<uint64_t>{});
    case 4:
      return f(TypeTag<uint32_t>{});
    case 2:
      return f(TypeTag<uint16_t>{});
    default:
      return f(TypeTag<uint8_t>{});
  }
}

}  // namespace surprisal
