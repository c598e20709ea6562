// What the kernels share: the matrices to be scaled, their entries, and those left to a later
// launch.
#pragma once
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "cuda/elements.h"
#include "cuda/launch.h"
#include "cuda/numbers.h"
#include "ops/sinkhorn_knopp/op.h"
#include "ops/sinkhorn_knopp/plan.h"

namespace surprisal::sinkhorn_knopp {

// Matrices of a launch: all, or those of a list that an earlier one has made.
struct Matrices {
  int64_t batch = 0;
  const int64_t* list = nullptr;
  const uint32_t* listed = nullptr;

  __device__ int64_t count() const { return list ? int64_t{cuda::load(listed)} : batch; }
  __device__ int64_t at(int64_t k) const { return list ? cuda::load(list + k) : k; }
};
// Matrices whose numbers range too widely, in any order.
struct Rest {
  int64_t* list = nullptr;
  uint32_t* listed = nullptr;

  __device__ void put(int64_t matrix) const {
    cuda::store(list + cuda::atomic_add(listed, 1u), matrix);
  }
};

struct Work {
  const void* x = nullptr;  // (B, N, M)
  const void* upstream = nullptr;
  void* to = nullptr;
  DType dtype = DType::f32;
  DType upstream_dtype = DType::f32;
  cuda::Numbers rows, columns;
  bool own_rows = false, own_columns = false;  // of every matrix
  int64_t n = 0, m = 0, iterations = 0;
  double temperature = 1;
  bool matrix = false, columns_first = false;
  bool packed = false;  // matrices of 4 x 4, where packs may begin
  cuda::FaultSite negative;
  Matrices matrices;
  Rest rest;

  __device__ int64_t size() const { return n * m; }
  __device__ double row(int64_t b, int64_t i) const {
    return rows ? rows[own_rows ? b * n + i : i] : 1;
  }
  __device__ double column(int64_t b, int64_t j) const {
    if (columns) return columns[own_columns ? b * m + j : j];
    return static_cast<double>(n) / static_cast<double>(m);
  }
};

// Of x: the largest and smallest that count, and whether all are numbers.
template <class C>
struct Extent {
  C top, low;
  C bad;  // 1: some are not

  __device__ Extent()
      : top(-std::numeric_limits<C>::infinity()), low(std::numeric_limits<C>::infinity()), bad(0) {}
  __device__ void add(C x, bool matrix) {
    if (!(x < std::numeric_limits<C>::infinity())) bad = 1;
    const bool counts = matrix ? x > 0 : x > -std::numeric_limits<C>::infinity();
    top = counts && x > top ? x : top;
    low = counts && x < low ? x : low;
  }
  __device__ void merge(const Extent& other) {
    top = other.top > top ? other.top : top;
    low = other.low < low ? other.low : low;
    bad = other.bad > bad ? other.bad : bad;
  }
  __device__ bool empty() const { return !(top > -std::numeric_limits<C>::infinity()); }
};

// Called, not inlined: each of their copies would cost registers.
__device__ SP_CALLED inline double exp_of(double x) { return exp(x); }
__device__ SP_CALLED inline double log_of(double x) { return log(x); }

// As kScalingRange of cpu/matrix_scaling.h.
template <class C>
constexpr double kRange = std::is_same_v<C, double> ? 330 : 36;

// What x becomes: K, the largest being 1, and what derivatives by K or by S are multiplied by.
template <class C>
struct Entries {
  C top, scale;
  bool finite, fits;
  bool matrix;

  __device__ Entries(const Work& w, const Extent<C>& e) : matrix(w.matrix) {
    finite = !(e.bad > 0);
    top = e.empty() ? C(w.matrix ? 1 : 0) : e.top;
    const double range = e.empty()  ? 0
                         : w.matrix ? log_of(double(e.top)) - log_of(double(e.low))
                                    : (double(e.top) - double(e.low)) / w.temperature;
    fits = range <= kRange<C>;
    const double inverse = 1 / (w.matrix ? double(top) : w.temperature);
    const double most = std::numeric_limits<C>::max();
    scale = C(inverse < most ? inverse : most);
  }
  __device__ C operator()(C x) const {
    if (matrix) return x > 0 ? x * scale : 0;
    const C t = (x - top) * scale;
    if constexpr (std::is_same_v<C, double>) {
      return exp_of(t);
    } else {
      return expf(t);
    }
  }
};

template <class C>
__device__ inline C inverse(C x) {
  return x == 0 ? C{0} : C{1} / x;
}
__device__ inline float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline double fused(double a, double b, double c) { return fma(a, b, c); }

// f(TypeTag<T>{}) for the types whose accumulators are C; of lists all floats are iterated in
// double.
template <class C, class F>
__device__ inline void visit(DType dtype, F&& f) {
  if constexpr (std::is_same_v<C, double>) {
    if (dtype == DType::f64) return f(TypeTag<double>{});
  }
  if (dtype == DType::f16) return f(TypeTag<Float16>{});
  if (dtype == DType::bf16) return f(TypeTag<BFloat16>{});
  f(TypeTag<float>{});
}

template <class C>
__device__ inline C element(const void* from, DType dtype, int64_t i) {
  C x{};
  visit<C>(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    x = cuda::widened<C>(cuda::load(static_cast<const T*>(from) + i));
  });
  return x;
}
template <class C>
__device__ inline void set_element(void* to, DType dtype, int64_t i, C x) {
  visit<C>(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    cuda::store(static_cast<T*>(to) + i, cuda::narrowed<T>(x));
  });
}

__device__ inline int64_t bits_of_double(double x) {
  int64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

}  // namespace surprisal::sinkhorn_knopp
