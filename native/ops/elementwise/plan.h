// Which kernel of cuda.cu takes a call: pure functions of sizes, tested without a GPU.
#pragma once
#include "ops/elementwise/call.h"

namespace surprisal::elementwise {

constexpr int kThreads = 256;
constexpr int kPack = 4;   // elements that go together in the pack kernel
constexpr int kPacks = 2;  // packs a thread has in flight

struct Plan {
  bool packs = false;
  bool broadcast = false;  // some operand is walked along `axes`
};

// What fits float's packs: dtypes of at most 4 bytes that convert cheaply.
constexpr bool packs_well(DType t) {
  return t == DType::f32 || t == DType::f16 || t == DType::bf16 || t == DType::boolean;
}

// Of n elements.
constexpr int64_t blocks_of(int64_t n, bool packs) {
  const int64_t each = int64_t{kThreads} * (packs ? kPacks * kPack : 1);
  return (n + each - 1) / each;
}

inline bool is_repeated(const Call& call, int k) {
  return call.operand[k] && call.operand[k].size != 1 && call.operand[k].size != call.out.size;
}

// float computes in packs where every array has 16-byte addresses (`aligned`) and, with a broadcast
// operand, rows are whole packs.
inline Plan plan(const Call& call, const Axes<3>& axes, bool aligned) {
  Plan plan;
  const DType compute = compute_dtype(call);
  plan.packs = aligned && is_float(compute) && compute != DType::f64 && packs_well(call.out.dtype);
  for (int k = 0; k < call.operands; ++k) {
    if (!call.operand[k]) continue;
    plan.packs &= packs_well(call.operand[k].dtype);
    plan.broadcast |= is_repeated(call, k);
  }
  if (plan.broadcast) plan.packs &= axes.axis[axes.rank - 1].n % kPack == 0;
  return plan;
}

}  // namespace surprisal::elementwise
