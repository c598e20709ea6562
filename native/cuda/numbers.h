// Arrays of any float dtype whose elements kernels read or write one at a time, as double.
#pragma once
#include "core/row_loss.h"
#include "cuda/device.h"

namespace surprisal::cuda {

// Called, not inlined, as row_math's functions are.
inline __device__ SP_CALLED double number_at(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::f64:
      return load(static_cast<const double*>(data) + i);
    case DType::f16:
      return to_float(load(static_cast<const Float16*>(data) + i));
    case DType::bf16:
      return to_float(load(static_cast<const BFloat16*>(data) + i));
    default:
      return load(static_cast<const float*>(data) + i);
  }
}
inline __device__ SP_CALLED void set_number(void* data, DType dtype, int64_t i, double x) {
  switch (dtype) {
    case DType::f64:
      return store(static_cast<double*>(data) + i, x);
    case DType::f16:
      return store(static_cast<Float16*>(data) + i, to_float16(static_cast<float>(x)));
    case DType::bf16:
      return store(static_cast<BFloat16*>(data) + i, to_bfloat16(static_cast<float>(x)));
    default:
      return store(static_cast<float*>(data) + i, static_cast<float>(x));
  }
}

struct Numbers {
  const void* data = nullptr;
  DType dtype = DType::f32;

  Numbers() = default;
  SP_HOST_DEVICE Numbers(const View& view) : data(view.data), dtype(view.dtype) {}
  SP_HOST_DEVICE explicit operator bool() const { return data != nullptr; }
  __device__ double operator[](int64_t i) const { return number_at(data, dtype, i); }
  // 1 if there are none.
  __device__ double weight(int64_t i) const { return data ? number_at(data, dtype, i) : 1; }
};
struct NumbersOut {
  void* data = nullptr;
  DType dtype = DType::f32;

  NumbersOut() = default;
  SP_HOST_DEVICE NumbersOut(void* data, DType dtype) : data(data), dtype(dtype) {}
  SP_HOST_DEVICE NumbersOut(const View& view) : data(view.data), dtype(view.dtype) {}
  SP_HOST_DEVICE explicit operator bool() const { return data != nullptr; }
  __device__ void set(int64_t i, double x) const { set_number(data, dtype, i, x); }
};

}  // namespace surprisal::cuda
