// Optimiser steps over many arrays in one launch: the arrays' addresses travel in the kernel's
// parameters, 48 at a time (more would not fit in 4 KiB), so that nothing is uploaded and a
// recorded launch stays valid. A block looks up its array and updates 1024 elements of it, 16 bytes
// an access. The floor is the state's bytes: Adam reads 16 and writes 12 bytes for each float32
// parameter, with bfloat16 and its master copy 16 and 14. Sums of squares are taken a block of 8192
// elements each, then over blocks in their order by one block: the same bits every time.
// Compiled without contraction of multiply and add: parameters follow the CPU's to the bit.
#include "cuda/elements.h"
#include "cuda/launch.h"
#include "ops/optimiser/check.h"
#include "ops/optimiser/op.h"
#include "ops/optimiser/plan.h"

namespace surprisal::optimiser {
namespace {

using namespace cuda;

// One array of each role; N roles.
template <int N>
struct Batch {
  void* at[N][kArrays];  // null where an optimiser keeps none
  int64_t n[kArrays];
  int64_t first[kArrays];  // block
  bool aligned[kArrays];
  int count;
};

// Where this block works: elements [begin, n) of array `index`, as far as the block reaches.
struct Place {
  int index;
  int64_t begin;
};
template <int N>
__device__ inline Place place_of(const Batch<N>& b, int64_t chunk) {
  const int index = array_of(b.first, b.count, block_index());
  return {index, (block_index() - b.first[index]) * chunk};
}

// Elements i to i + kEach of an array of which `count` are there; zeros beyond.
template <class A, class T>
__device__ inline void read(const void* data, int64_t i, int count, bool aligned, A (&x)[kEach]) {
  const T* p = static_cast<const T*>(data) + i;
  if (aligned && count == kEach) return load_elements(p, x);
#pragma unroll
  for (int j = 0; j < kEach; ++j) x[j] = j < count ? widened<A>(load(p + j)) : A(0);
}
// Stores that the compiler cannot take apart: it would share those of single elements below.
template <class T, class A>
__device__ inline void write_whole(T* p, const A (&x)[kEach]) {
  constexpr int kPart = kTogether<T, kEach>;
#pragma unroll
  for (int i = 0; i < kEach; i += kPart) {
    Pack<T, kPart> part;
#pragma unroll
    for (int j = 0; j < kPart; ++j) part.at[j] = narrowed<T>(x[i + j]);
    if constexpr (sizeof part == 16) {
      store_once(reinterpret_cast<Pack<T, kPart>*>(p + i), part);
    } else {
      uint64_t bits;
      static_assert(sizeof part == sizeof bits);
      std::memcpy(&bits, &part, sizeof bits);
      store(reinterpret_cast<uint64_t*>(p + i), bits);
    }
  }
}
template <class T, class A>
__device__ inline void write(void* data, int64_t i, int count, bool aligned, const A (&x)[kEach]) {
  T* p = static_cast<T*>(data) + i;
  if (aligned && count == kEach) return write_whole(p, x);
#pragma unroll
  for (int j = 0; j < kEach; ++j)
    if (j < count) store(p + j, narrowed<T>(x[j]));
}

__device__ inline int count_at(int64_t i, int64_t n) {
  return n - i < kEach ? static_cast<int>(n - i) : kEach;
}

enum Role { kParam, kGrad, kMaster, kFirst, kSecond };

struct AdamNumbers {
  Rates rates;
  const double* stored;  // instead of rates, unless null
  double beta1, beta2, eps, weight_decay;
  bool decoupled;
};

template <class T>
__global__ void __launch_bounds__(kThreads) optimiser_adam_kernel(Batch<5> b, AdamNumbers with) {
  using A = accumulator_t<T>;
  const Place place = place_of(b, kChunk);
  const int k = place.index;
  const int64_t i = place.begin + thread_index() * kEach;
  if (i >= b.n[k]) return;
  const int count = count_at(i, b.n[k]);
  const bool aligned = b.aligned[k];
  const A step = A(with.stored ? load(with.stored + 1) : with.rates.step);
  const A root = A(with.stored ? load(with.stored + 2) : with.rates.root);
  const A keep = A(with.stored ? load(with.stored + 3) : with.rates.keep);
  const A decay = A(with.weight_decay), eps = A(with.eps), beta2 = A(with.beta2);
  const A rate1 = A(1 - with.beta1), rate2 = A(1 - with.beta2);
  A p[kEach], g[kEach], mean[kEach], square[kEach];
  if constexpr (is_16bit<T>) {
    read<A, A>(b.at[kMaster][k], i, count, aligned, p);
  } else {
    read<A, T>(b.at[kParam][k], i, count, aligned, p);
  }
  read<A, T>(b.at[kGrad][k], i, count, aligned, g);
  read<A, A>(b.at[kFirst][k], i, count, aligned, mean);
  read<A, A>(b.at[kSecond][k], i, count, aligned, square);
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    if (with.decoupled) {
      p[j] = p[j] * keep;
    } else if (decay != 0) {
      g[j] = g[j] + decay * p[j];
    }
    mean[j] = mean[j] + rate1 * (g[j] - mean[j]);
    square[j] = square[j] * beta2 + rate2 * (g[j] * g[j]);
    p[j] = p[j] - step * (mean[j] / (std::sqrt(square[j]) / root + eps));
  }
  write<A>(b.at[kFirst][k], i, count, aligned, mean);
  write<A>(b.at[kSecond][k], i, count, aligned, square);
  if constexpr (is_16bit<T>) write<A>(b.at[kMaster][k], i, count, aligned, p);
  write<T>(b.at[kParam][k], i, count, aligned, p);
}

static_assert(sizeof(Batch<5>) + sizeof(AdamNumbers) <= 4096, "the parameters of a kernel");

struct SgdNumbers {
  double lr;
  const double* stored;  // instead of lr, unless null
  double momentum, rest, weight_decay;
  bool nesterov, first;
};

template <class T>
__global__ void __launch_bounds__(kThreads) optimiser_sgd_kernel(Batch<4> b, SgdNumbers with) {
  using A = accumulator_t<T>;
  const Place place = place_of(b, kChunk);
  const int k = place.index;
  const int64_t i = place.begin + thread_index() * kEach;
  if (i >= b.n[k]) return;
  const int count = count_at(i, b.n[k]);
  const bool aligned = b.aligned[k], has_buffer = b.at[kFirst][k] != nullptr;
  const A lr = A(with.stored ? load(with.stored) : with.lr);
  const A momentum = A(with.momentum), rest = A(with.rest), decay = A(with.weight_decay);
  A p[kEach], g[kEach], buffer[kEach] = {};
  if constexpr (is_16bit<T>) {
    read<A, A>(b.at[kMaster][k], i, count, aligned, p);
  } else {
    read<A, T>(b.at[kParam][k], i, count, aligned, p);
  }
  read<A, T>(b.at[kGrad][k], i, count, aligned, g);
  if (has_buffer && !with.first) read<A, A>(b.at[kFirst][k], i, count, aligned, buffer);
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    if (decay != 0) g[j] = g[j] + decay * p[j];
    if (has_buffer) {
      buffer[j] = with.first ? g[j] : momentum * buffer[j] + rest * g[j];
      g[j] = with.nesterov ? g[j] + momentum * buffer[j] : buffer[j];
    }
    p[j] = p[j] - lr * g[j];
  }
  if (has_buffer) write<A>(b.at[kFirst][k], i, count, aligned, buffer);
  if constexpr (is_16bit<T>) write<A>(b.at[kMaster][k], i, count, aligned, p);
  write<T>(b.at[kParam][k], i, count, aligned, p);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    optimiser_refresh_kernel(const T* param, float* master, int64_t n) {
  const int64_t i = block_index() * kThreads + thread_index();
  if (i >= n) return;
  const T x = load(param + i);
  if (narrowed<T>(load(master + i)).bits != x.bits) store(master + i, to_float(x));
}

__global__ void optimiser_rates_kernel(double* out, Rates rates) {
  if (thread_index() > 0) return;
  store(out, rates.lr);
  store(out + 1, rates.step);
  store(out + 2, rates.root);
  store(out + 3, rates.keep);
}

// The sum over the block's threads, in thread 0. Warps, then their sums: a fixed tree.
__device__ inline double block_sum(double x) {
  auto& partial = shared<double[kThreads / kWarp]>();
  x = warp_sum(x);
  if (lane_index() == 0) store(&partial[warp_index()], x);
  sync_threads();  // thread 0 reads what every warp wrote
  double total = 0;
  if (thread_index() == 0)
    for (int w = 0; w < kThreads / kWarp; ++w) total += load(&partial[w]);
  return total;
}

template <class T>
__global__ void __launch_bounds__(kThreads) optimiser_square_sum_kernel(Batch<1> b, double* out) {
  using A = accumulator_t<T>;
  const Place place = place_of(b, kSumChunk);
  const int k = place.index;
  double sum = 0;
#pragma unroll
  for (int part = 0; part < kSumChunk / kChunk; ++part) {
    const int64_t i = place.begin + part * kChunk + thread_index() * kEach;
    if (i >= b.n[k]) break;
    A x[kEach];
    read<A, T>(b.at[0][k], i, count_at(i, b.n[k]), b.aligned[k], x);
#pragma unroll
    for (int j = 0; j < kEach; ++j) sum += double(x[j]) * double(x[j]);
  }
  const double total = block_sum(sum);
  if (thread_index() == 0) store(out + block_index(), total);
}

__global__ void __launch_bounds__(kThreads)
    optimiser_total_kernel(const double* partial, int64_t count, double* out) {
  double sum = 0;
  for (int64_t i = thread_index(); i < count; i += kThreads) sum += load(partial + i);
  const double total = block_sum(sum);
  if (thread_index() == 0) store(out, total);
}

template <class T>
__global__ void optimiser_factor_kernel(const double* square_sum, T* norm, double* factor,
                                        double max_norm) {
  if (thread_index() > 0) return;
  const double x = std::sqrt(load(square_sum));
  store(norm, static_cast<T>(x));
  store(factor, max_norm / (x + 1e-6));
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    optimiser_scale_kernel(Batch<2> b, const double* factor) {
  using A = accumulator_t<T>;
  const double given = load(factor);
  const bool scales = !(given >= 1);  // a NaN scales
  const Place place = place_of(b, kChunk);
  const int k = place.index;
  const int64_t i = place.begin + thread_index() * kEach;
  if (i >= b.n[k] || (!scales && b.at[0][k] == b.at[1][k])) return;
  const int count = count_at(i, b.n[k]);
  const A by = A(scales ? given : 1);
  A x[kEach];
  read<A, T>(b.at[0][k], i, count, b.aligned[k], x);
#pragma unroll
  for (int j = 0; j < kEach; ++j) x[j] *= by;
  write<T>(b.at[1][k], i, count, b.aligned[k], x);
}

// Calls f(batch, blocks) for the arrays with elements, up to kArrays at a time. `roles` are lists
// of one length, or empty.
template <int N, class F>
void in_batches(const Views* const (&roles)[N], int64_t chunk, F&& f) {
  Batch<N> b{};
  int64_t blocks = 0;
  const auto flush = [&] {
    if (b.count > 0) f(b, blocks);
    b.count = 0;
    blocks = 0;
  };
  for (size_t i = 0; i < roles[0]->size(); ++i) {
    const int64_t n = (*roles[0])[i].size;
    if (n == 0) continue;
    b.aligned[b.count] = true;
    for (int role = 0; role < N; ++role) {
      void* data = roles[role]->empty() ? nullptr : (*roles[role])[i].data;
      b.at[role][b.count] = data;
      b.aligned[b.count] &= is_aligned(data);
    }
    b.n[b.count] = n;
    b.first[b.count] = blocks;
    blocks += chunks_of(n, chunk);
    if (++b.count == kArrays) flush();
  }
  flush();
}

const double* stored(const View& rates) { return rates ? rates.as<double>() : nullptr; }

// Calls f(TypeTag<T>, a, out) with the arrays of each dtype: a launch is of one.
template <class F>
void by_dtype(const Views& a, const Views& out, F&& f) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
    Views in, to;
    for (size_t i = 0; i < a.size(); ++i) {
      if (a[i].dtype != dtype) continue;
      in.push_back(a[i]);
      if (!out.empty()) to.push_back(out[i]);
    }
    if (!in.empty()) visit_float(dtype, [&](auto tag) { f(tag, in, to); });
  }
}

}  // namespace

void sgd_cuda(const Sgd& op, Stream& stream) {
  check(op);
  const SgdNumbers with{op.lr,           stored(op.rates), op.momentum, 1 - op.dampening,
                        op.weight_decay, op.nesterov,      op.first};
  visit_float(op.param[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    in_batches<4>({&op.param, &op.grad, &op.master, &op.buffer}, kChunk,
                  [&](const Batch<4>& b, int64_t blocks) {
                    launch(stream, optimiser_sgd_kernel<T>, {blocks, kThreads}, b, with);
                  });
  });
}

void adam_cuda(const Adam& op, Stream& stream) {
  check(op);
  const AdamNumbers with{rates_of(op.lr, op.beta1, op.beta2, op.weight_decay, op.step),
                         stored(op.rates),
                         op.beta1,
                         op.beta2,
                         op.eps,
                         op.weight_decay,
                         op.decoupled};
  visit_float(op.param[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    in_batches<5>({&op.param, &op.grad, &op.master, &op.m, &op.v}, kChunk,
                  [&](const Batch<5>& b, int64_t blocks) {
                    launch(stream, optimiser_adam_kernel<T>, {blocks, kThreads}, b, with);
                  });
  });
}

void set_rates_cuda(const SetRates& op, Stream& stream) {
  require(op.out.size == 4, "optimiser: 4 rates");
  launch(stream, optimiser_rates_kernel, {1, kWarp}, op.out.as<double>(),
         rates_of(op.lr, op.beta1, op.beta2, op.weight_decay, op.step));
}

void refresh_cuda(const Refresh& op, Stream& stream) {
  check(op);
  const int64_t n = op.param.size, blocks = chunks_of(n, kThreads);
  const auto run = [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(stream, optimiser_refresh_kernel<T>, {blocks, kThreads}, op.param.as<T>(),
           op.master.as<float>(), n);
  };
  op.param.dtype == DType::bf16 ? run(TypeTag<BFloat16>{}) : run(TypeTag<Float16>{});
}

void square_sum_cuda(const SquareSum& op, Stream& stream) {
  check_number(op.out);
  int64_t count = 0;
  for (const View& a : op.a) count += chunks_of(a.size, kSumChunk);
  double* const partial = stream.scratch<double>(count > 0 ? count : 1);
  constexpr int64_t kShared = kThreads / kWarp * sizeof(double);
  int64_t done = 0;
  by_dtype(op.a, {}, [&](auto tag, const Views& a, const Views&) {
    using T = typename decltype(tag)::type;
    in_batches<1>({&a}, kSumChunk, [&](const Batch<1>& b, int64_t blocks) {
      launch(stream, optimiser_square_sum_kernel<T>, {blocks, kThreads, kShared}, b,
             partial + done);
      done += blocks;
    });
  });
  launch(stream, optimiser_total_kernel, {1, kThreads, kShared}, partial, done,
         op.out.as<double>());
}

void clip_factor_cuda(const ClipFactor& op, Stream& stream) {
  check(op);
  const auto run = [&](auto* norm) {
    using T = std::remove_pointer_t<decltype(norm)>;
    launch(stream, optimiser_factor_kernel<T>, {1, kWarp}, op.square_sum.as<double>(), norm,
           op.factor.as<double>(), op.max_norm);
  };
  op.norm.dtype == DType::f64 ? run(op.norm.as<double>()) : run(op.norm.as<float>());
}

void scale_cuda(const Scale& op, Stream& stream) {
  check(op);
  by_dtype(op.a, op.out, [&](auto tag, const Views& a, const Views& out) {
    using T = typename decltype(tag)::type;
    in_batches<2>({&a, &out}, kChunk, [&](const Batch<2>& b, int64_t blocks) {
      launch(stream, optimiser_scale_kernel<T>, {blocks, kThreads}, b, op.factor.as<double>());
    });
  });
}

}  // namespace surprisal::optimiser
