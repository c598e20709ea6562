// Which CUDA kernel takes a softmax, and how it is launched: a function of n, inner, the dtype and
// the device; the outer size only says how many blocks there are, and where rows lie says nothing.
// Checked by test/ops/softmax-plan.test.ts.
#pragma once
#include "cuda/row_hold_plan.h"

namespace surprisal::softmax {

constexpr int kThreads = 256;
constexpr int kColumnsTogether = 32;  // of a block: 64 bytes or more of each row
constexpr int kHeld = 16;             // elements of a column that a thread keeps

struct Plan {
  cuda::HoldPlan rows;  // inner = 1
  int lanes = 0;        // else: threads a column, kThreads / lanes columns a block; 0 for rows
  bool held = true;     // whether a column is read once
  int64_t blocks = 0;
};

struct Shape {
  int64_t outer = 1, n = 1, inner = 1;
  DType dtype = DType::f32;
  bool clusters = true;
};

constexpr Plan plan(const Shape& s) {
  Plan p;
  if (s.inner == 1) {
    p.rows = cuda::plan_hold({s.outer, s.n, s.dtype, s.clusters});
    p.blocks = p.rows.blocks;
    return p;
  }
  int columns = 1;
  while (columns < s.inner && columns < kColumnsTogether) columns *= 2;
  p.lanes = 1;
  while (p.lanes * kHeld < s.n && p.lanes * columns < kThreads) p.lanes *= 2;
  p.held = s.n <= p.lanes * kHeld;
  const int64_t each = kThreads / p.lanes;
  p.blocks = (s.outer * s.inner + each - 1) / each;
  return p;
}

}  // namespace surprisal::softmax
