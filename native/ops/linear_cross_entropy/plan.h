// Launch decisions of the CUDA form: how rows are cut into waves and classes into chunks so that
// everything beside the tensors fits the workspace, where in it each array lies, which tiles.
//
// What a row's bits may depend on: never on the other rows or the workspace. Spans follow from V
// alone; sums over classes are carried from chunk to chunk in the accumulators of the products,
// whose order is that of k. dW's sum runs over the rows, wave after wave. The exception: dz of rows
// whose exponentials are kept (Stored), which only a workspace that was asked for does.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/dtype.h"
#include "cuda/wide_plan.h"

namespace surprisal::linear_cross_entropy {

constexpr int64_t kRowTile = 128, kColumnTile = 128;
constexpr int64_t kClearedRows = 256;  // behind the last row of x and dz come zeros, to a multiple
constexpr int64_t kStoredTile = 256;   // classes, see Stored
constexpr int kStoredExponent = 15;    // float16 holds up to 65504
constexpr int64_t kSpanStep = 256;     // spans are multiples, and so whole tiles of any kernel
constexpr int64_t kLeastSpan = 512, kMostSpans = 128;
constexpr int64_t kUsefulChunk = 1024;      // fewer classes make products of poor shape
constexpr int64_t kUsefulWave = 1024;       // of rows beside stored ones
constexpr int64_t kStatesBytes = 32 << 20;  // a loss alone takes no more of a larger workspace
constexpr int64_t kSegment = 8192;          // rows or classes that a block adds up
constexpr int64_t kShortRows = 32;          // tile of few rows
// Of dz, what a filter keeps or drops.
constexpr int64_t kFilterRows = kRowTile, kFilterColumns = kColumnTile;
constexpr int64_t kFilterGroup = 8;  // blocks judged together, a multiple of those of any tile

// Rows of one target, in their order, whose part of dW is added up ahead of it; then dbias'.
constexpr int64_t kTargetSegment = 32;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_to(int64_t n, int64_t step) { return ceil_div(n, step) * step; }

constexpr int64_t segment_stride(int64_t width) { return round_to(width, 8) + 8; }

struct Problem {
  DType dtype = DType::f32;
  int64_t rows = 0, width = 0, classes = 0;  // rows: scored, ignored or not
  bool sums = false;                         // states of the rows are wanted
  bool dx = false, dweight = false, dbias = false;
  bool adds = false;          // dW is added to a float32 array
  bool class_weight = false;  // as accumulators
  bool filtered = false;
  int64_t budget = 0;
  int64_t stored = 0;  // rows, the first, whose exponentials forward has kept (Stored)

  constexpr bool gradient() const { return dx || dweight || dbias; }
  constexpr bool half() const { return dtype == DType::f16 || dtype == DType::bf16; }
  // Whether wgmma multiplies, on a device that has it: the copy engine fetches rows of W at
  // multiples of 16 bytes, and counts lines in ints. The same for all batches of less than
  // kMostLines rows.
  constexpr bool wide(bool wgmma, uint64_t weight) const {
    return wgmma && half() && width > 0 && width % 8 == 0 && weight % 16 == 0 &&
           std::max(rows, classes) < cuda::gemm::kMostLines;
  }
  constexpr int64_t element() const { return half() ? 2 : dtype == DType::f64 ? 8 : 4; }
  constexpr int64_t accumulator() const { return dtype == DType::f64 ? 8 : 4; }
  // dW's own memory holds partial sums.
  constexpr bool carries() const { return adds || !half(); }
  constexpr int64_t span() const {
    return std::max(kLeastSpan, round_to(ceil_div(classes, kMostSpans), kSpanStep));
  }
  constexpr int64_t spans() const { return ceil_div(classes, span()); }
  constexpr int64_t tiles() const { return ceil_div(classes, kFilterColumns); }
};

// Where each array begins in the workspace; those that nobody asked for take no room.
struct Layout {
  int64_t count = 0, totals = 0, partial = 0, position = 0, target = 0, row_loss = 0;
  int64_t class_weight = 0, slopes = 0, bounds = 0, unit = 0, own_dz = 0, keys = 0, more_keys = 0;
  int64_t bias_sums = 0;
  int64_t x = 0, states = 0, target_z = 0, sums_x = 0;  // of a wave
  int64_t chunk = 0, starts = 0, sums_w = 0;            // of a chunk
  int64_t segments = 0;
  // Of a filter. By tiles of classes, ...
  int64_t weight_facts = 0, mean_rows = 0, tail_sums = 0, tail_bias = 0, tally = 0;
  int64_t keep = 0, costs = 0, x_norms = 0, tail = 0;  // ... of a wave by tiles, ...
  int64_t units = 0, lists_x = 0, lists_w = 0;         // ... of a wave and chunk
  int64_t bytes = 0;
};

// Blocks of a filter in a wave of rows and in a chunk of classes, to whole groups.
struct FilterShape {
  int64_t rows, columns;
  constexpr FilterShape(int64_t wave, int64_t chunk)
      : rows(round_to(ceil_div(wave, kFilterRows), kFilterGroup)),
        columns(round_to(ceil_div(chunk, kFilterColumns), kFilterGroup)) {}
};

template <class Take>
constexpr void take_filter(const Problem& p, int64_t wave, int64_t chunk, Layout& at, Take&& take) {
  const FilterShape all(wave, p.classes), part(wave, chunk);
  const int64_t a = p.accumulator();
  at.weight_facts = take(true, all.columns * 6 * 8);
  at.mean_rows = take(true, all.columns * p.width * p.element());
  at.tail_sums = take(p.dweight, all.columns * p.width * a);
  at.tail_bias = take(p.dbias, all.columns * 8);
  at.tally = take(true, 4 * 8);
  at.keep = take(true, all.rows * all.columns);
  at.costs = take(true, all.rows * all.columns * 2 * 8);
  at.x_norms = take(true, all.rows * 8);
  at.tail = take(true, round_to(wave, kClearedRows) * all.columns * (p.half() ? 2 : a));
  at.units = take(true, (2 * part.rows * part.columns + 1) * 4);
  at.lists_x = take(p.dx, part.rows * (part.columns + 1) * 4);
  at.lists_w = take(p.dweight, part.columns * (part.rows + 1) * 4);
}

// Rows of x are those of a wave, or all that are stored, which are one.
constexpr Layout layout_of(const Problem& p, int64_t wave, int64_t chunk) {
  Layout at;
  int64_t end = 0;
  const auto take = [&end](bool wanted, int64_t bytes) {
    const int64_t begin = end;
    if (wanted) end = round_to(begin + bytes, 256);
    return begin;
  };
  const int64_t a = p.accumulator(), by_class = p.dweight || p.dbias;
  const int64_t stride = round_to(p.width, 8), most = std::max(wave, p.stored);
  at.count = take(true, 8);
  at.totals = take(true, 2 * 4 * 8);
  at.partial = take(true, ceil_div(std::max(p.rows, p.classes), kSegment) * 4 * 8);
  at.position = take(true, p.rows * 8);
  at.target = take(true, p.rows * 4);
  at.row_loss = take(true, p.rows * 8);
  at.class_weight = take(p.class_weight, p.classes * a);
  at.slopes = take(p.gradient(), p.rows * (a == 8 ? 48 : 24));
  at.bounds = take(p.gradient() && p.dtype == DType::f16, p.rows * 4);
  at.unit = take(p.gradient() && p.dtype == DType::f16, 4);
  at.own_dz = take(p.gradient(), p.rows * a);
  at.keys = take(by_class, p.rows * 8);
  at.more_keys = take(by_class, p.rows * 8);
  at.bias_sums = take(p.dbias, p.classes * 8);
  at.x = take(true, most * stride * p.element());
  at.states = take(p.sums, wave * p.spans() * 4 * a);
  at.target_z = take(p.sums, wave * a);
  at.sums_x = take(p.dx, most * stride * a);
  at.chunk = take(p.gradient() || !p.half(), wave * chunk * (p.half() ? 2 : a));
  at.starts = take(by_class, ((p.stored > 0 ? p.classes : chunk) + 1) * 8);
  at.sums_w =
      take(p.dweight && !p.carries() && p.stored == 0 && wave < p.rows, chunk * p.width * a);
  at.segments = take(p.dweight || p.dbias, p.rows / kTargetSegment * segment_stride(p.width) * a);
  if (p.filtered) take_filter(p, most, p.stored > 0 ? std::max(chunk, p.classes) : chunk, at, take);
  at.bytes = end;
  return at;
}

struct Plan {
  int64_t minimum = 0;  // the least budget that works; above `budget` the rest is not filled in
  int64_t wave = 0, chunk = 0;
  // dW, which cannot hold partial sums, by a sweep of its own over the waves of each chunk: one
  // product more where dx is wanted too.
  bool weight_sweep = false;
  Layout at;
};

// The largest multiple of `step` up to `most` (or most itself) that fits; 0 if none.
template <class F>
constexpr int64_t largest(int64_t most, int64_t step, F&& fits) {
  if (fits(most)) return most;
  int64_t low = 0, high = ceil_div(most, step);  // low fits, high does not
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (fits(middle * step) ? low : high) = middle;
  }
  return low * step;
}

constexpr Plan plan_pass(const Problem& p) {
  Plan plan;
  if (p.stored > 0 && p.stored >= p.rows) {  // no other wave
    plan.at = layout_of(p, 0, 0);
    plan.minimum = plan.at.bytes;
    plan.wave = p.rows;
    plan.chunk = p.classes;
    return plan;
  }
  const int64_t rows = round_to(std::max<int64_t>(1, p.rows - p.stored), kRowTile);
  const int64_t columns = round_to(std::max<int64_t>(1, p.classes), p.span());
  const auto bytes = [&p](int64_t wave, int64_t chunk) { return layout_of(p, wave, chunk).bytes; };
  plan.minimum = bytes(kRowTile, p.span());
  if (plan.minimum > p.budget) return plan;
  const int64_t budget =
      p.gradient() ? p.budget : std::max(plan.minimum, std::min(p.budget, kStatesBytes));
  const int64_t useful = std::min(columns, round_to(kUsefulChunk, p.span()));
  const auto wave_for = [&](int64_t chunk) {
    return largest(rows, kRowTile, [&](int64_t wave) { return bytes(wave, chunk) <= budget; });
  };
  plan.wave = wave_for(p.gradient() ? useful : p.span());
  if (plan.wave == 0) plan.wave = std::max(kRowTile, wave_for(p.span()));
  // Of several waves each has whole tiles.
  if (plan.wave > kClearedRows && plan.wave < rows) plan.wave -= plan.wave % kClearedRows;
  plan.chunk = std::max(p.span(), largest(columns, p.span(), [&](int64_t chunk) {
                          return bytes(plan.wave, chunk) <= budget;
                        }));
  plan.weight_sweep = p.stored == 0 && plan.wave < p.rows && (p.dweight || p.dbias) && !p.carries();
  plan.at = layout_of(p, plan.wave, plan.chunk);
  return plan;
}

// Tiles of the kernels. States: as tall as leaves every processor a block. Results are the same
// bits whichever of a kind's tiles is taken.
struct Tiles {
  int processors = 1;

  constexpr bool tall(int64_t rows, int64_t columns) const {
    return rows > kShortRows && ceil_div(rows, kRowTile) * columns >= processors;
  }
  // 128 x 128, or 64 x 64.
  constexpr bool large(int64_t m, int64_t n) const {
    return m > 64 && n > 64 && ceil_div(m, 128) * ceil_div(n, 128) >= processors;
  }
  // Of wgmma: 256 x 256 of a cluster, or 64 x 128; of states, in `spans` of n columns.
  constexpr bool wide_large(int64_t m, int64_t n, int64_t spans) const {
    const int64_t clusters = ceil_div(m, cuda::gemm::kWideLargeM) * spans;
    return cuda::gemm::wants_large(m, n, clusters, processors);
  }
  constexpr bool wide_large(int64_t m, int64_t n) const {
    return wide_large(m, n, ceil_div(n, cuda::gemm::kWideLargeN));
  }
};

// What forward keeps of rows so that their gradients take one product less: e^(z - m) dz/dx in
// float16, 2^kStoredExponent being the steepest dz/dx at z = m, and m for every kStoredTile
// classes: the largest z of the row in the span up to there. 11 digits down to 2^-29 of the
// largest, nothing below 2^-40.
struct Stored {
  int64_t rows = 0, stride = 0, tiles = 0;

  constexpr explicit Stored(const Problem& p)
      : stride(round_to(p.classes, kSpanStep)), tiles(stride / kStoredTile) {}
  constexpr int64_t row_bytes() const { return stride * 2 + tiles * 4; }
  constexpr int64_t bytes() const { return rows * row_bytes(); }
};

// As many rows as there is room for beside what forward and backward need, also a backward that
// makes their logits anew because what is stored will be needed again; none if those are fewer than
// half. All or none where dW cannot hold sums of several waves.
constexpr Stored plan_stored(Problem forward, Problem backward) {
  Stored stored(forward);
  const int64_t row = stored.row_bytes(), budget = forward.budget;
  const int64_t anew = plan_pass(backward).minimum;
  const auto fits = [&](int64_t rows) {
    backward.stored = rows;
    backward.budget = forward.budget = budget - rows * row;
    const Plan plan = plan_pass(backward);
    const bool whole = plan.wave >= std::min(kUsefulWave, backward.rows - rows) &&
                       plan.chunk >= std::min(kUsefulChunk, backward.classes);
    return std::max(plan.minimum, anew) <= backward.budget && whole &&
           plan_pass(forward).minimum <= forward.budget;
  };
  const bool some = backward.carries() || !(backward.dweight || backward.dbias);
  int64_t rows = forward.rows;
  if (!fits(rows)) rows = some ? largest(rows, kClearedRows, fits) : 0;
  stored.rows = 2 * rows < forward.rows ? 0 : rows;
  return stored;
}

}  // namespace surprisal::linear_cross_entropy
