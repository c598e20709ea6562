// The steps of a pass whose gradient is filtered: blocks of a wave are judged once its x is there,
// listed chunk by chunk, and what the dropped ones come to joins both gradients at the end: two
// products of V / kFilterColumns classes instead of V.
#include "ops/linear_cross_entropy/pass.h"

#include <algorithm>

#include "cuda/gemm.h"

namespace surprisal::linear_cross_entropy {

namespace {

using namespace cuda;

constexpr int kThreads = 256;
constexpr int kManyThreads = 1024;

// Which items of each group have a member that is kept: see BlockLists. Item i of member g is
// from[g group_stride + i item_stride].
struct ListWork {
  const uint8_t* from = nullptr;
  int64_t members = 0, group_stride = 0, items = 0, item_stride = 0;
  int unite = 1;  // members of a group
  int32_t* lists = nullptr;
  int64_t stride = 0;
};

// Those of wgmma's tiles of slopes in which anything is written, in their order.
struct UnitWork {
  Wave wave;
  Keep keep;
  int64_t column = 0, columns = 0;
  int64_t unit_rows = 0, unit_columns = 0;
  int32_t* units = nullptr;
};

__device__ inline int count_bits(uint32_t x) {
#if defined(__CUDA_ARCH__)
  return __popc(x);
#else
  return __builtin_popcount(x);
#endif
}
// Of a warp's lanes that come before this one, how many say so; `all`: of the whole warp.
__device__ inline int count_before(bool x, int* all) {
  const uint32_t mask = ballot(x);
  *all = count_bits(mask);
  return count_bits(mask & ((1u << lane_index()) - 1));
}

// A warp has a list.
__global__ void __launch_bounds__(kThreads) linear_lists_kernel(ListWork work) {
  const int64_t group = block_index() * (kThreads / kWarp) + warp_index();
  const int64_t first = group * work.unite;
  if (first >= work.members) return;
  int32_t* const list = work.lists + group * work.stride;
  int32_t count = 0;
  for (int64_t base = 0; base < work.items; base += kWarp) {
    const int64_t i = base + lane_index();
    bool keeps = false;
    for (int64_t m = first; m < first + work.unite && m < work.members && i < work.items; ++m)
      keeps |= (load(work.from + m * work.group_stride + i * work.item_stride) & Keep::kKept) != 0;
    int all;
    const int before = count_before(keeps, &all);
    if (keeps) store(list + 1 + count + before, static_cast<int32_t>(i));
    count += all;
  }
  if (lane_index() == 0) store(list, count);
}

// Sums of all waves become what each class of a tile gets.
template <class A>
__global__ void __launch_bounds__(kThreads)
    linear_share_tail_kernel(A* sums, int64_t width, int64_t classes) {
  const int64_t i = block_index() * kThreads + thread_index(), tile = i / width;
  const int64_t left = classes - tile * kFilterColumns;
  if (left <= 0) return;
  const A sharers = static_cast<A>(left < kFilterColumns ? left : kFilterColumns);
  store(sums + i, load(sums + i) / sharers);
}

// One block.
__global__ void __launch_bounds__(kManyThreads) linear_units_kernel(UnitWork work) {
  constexpr int kWarps = kManyThreads / kWarp;
  const int64_t rows = ceil_div(work.wave.cleared(), work.unit_rows);
  const int64_t columns = ceil_div(work.columns, work.unit_columns);
  auto* totals = &shared<int32_t>();  // of the warps
  int32_t base = 0;
  for (int64_t begin = 0; begin < rows * columns; begin += kManyThreads) {
    const int64_t unit = begin + thread_index();
    bool written = false;
    if (unit < rows * columns) {
      const gemm::TilePlace place(unit, rows, columns);
      written = work.keep.written(place.row * work.unit_rows,
                                  work.column + place.column * work.unit_columns);
    }
    int all;
    int32_t before = base + count_before(written, &all);
    if (lane_index() == 0) store(totals + warp_index(), all);
    sync_threads();  // the warps' totals are there
    for (int i = 0; i < kWarps; ++i) {
      const int32_t total = load(totals + i);
      if (i < warp_index()) before += total;
      base += total;
    }
    if (written) store(work.units + 1 + before, static_cast<int32_t>(unit));
    sync_threads();  // everybody has read the totals
  }
  if (thread_index() == 0) store(work.units, base);
}

void list_blocks(const ListWork& work, Stream& stream) {
  const int64_t groups = ceil_div(work.members, work.unite);
  launch(stream, linear_lists_kernel, {ceil_div(groups, kThreads / kWarp), kThreads}, work);
}

void list_units(const UnitWork& work, Stream& stream) {
  launch(stream, linear_units_kernel,
         {1, kManyThreads, kManyThreads / kWarp * int64_t{sizeof(int32_t)}}, work);
}

}  // namespace

void Pass::begin_filter(const SlopeWork& slopes) {
  WeightFactsWork facts;
  facts.dtype = problem_.dtype;
  facts.weight = op_.weight.data;
  facts.class_weight = slopes.class_weight;
  facts.width = op_.width;
  facts.classes = op_.classes;
  facts.mean_rows = memory<char>(at().mean_rows);
  facts.facts = memory<WeightFacts>(at().weight_facts);
  make_weight_facts(facts, stream_);
  stream_.fill_bytes(memory<char>(at().tally), 0, sizeof(Tally));
  judge_.dtype = problem_.dtype;
  judge_.kept = kept_;
  judge_.classes = op_.classes;
  judge_.tile_stride = kept_.most;
  judge_.saved = slopes.saved;
  judge_.map = slopes.map;
  judge_.eps = filter_.eps;
  judge_.max_error = filter_.max_error;
  judge_.upstream = filter_.upstream;
  judge_.facts = facts.facts;
  judge_.x_norms = memory<double>(at().x_norms);
  judge_.groups = wide_;
  judge_.keep = memory<uint8_t>(at().keep);
  judge_.stride = filter_shape().rows;
  judge_.costs = memory<double>(at().costs);
  judge_.tail_stride = round_to(problem_.tiles(), kFilterGroup);
  judge_.unit = slopes.unit;
}

FilterShape Pass::filter_shape() const {
  return {std::max(plan_.wave, problem_.stored), op_.classes};
}

Keep Pass::keep_blocks() const {
  if (!filtered()) return {};
  return {judge_.keep, judge_.stride};
}

// Of some tiles from `first` on.
JudgeWork Pass::judge_of(const Wave& wave, int64_t first, int64_t tiles) const {
  const bool wide = problem_.dtype == DType::f64;
  const int64_t slope = wide ? sizeof(Slope<double>) : sizeof(Slope<float>);
  JudgeWork work = judge_;
  work.wave = wave;
  work.first_tile = first;
  work.tiles = round_to(tiles, kFilterGroup);
  work.tile_sums =
      static_cast<const char*>(filter_.tile_sums.data) + wave.first * 2 * problem_.accumulator();
  work.slopes = memory<char>(at().slopes + wave.first * slope);
  work.row_blocks = round_to(ceil_div(wave.rows, kFilterRows), 2);
  return work;
}

void Pass::judge_wave(const Logits& z) const {
  make_x_norms({problem_.dtype, z.wave, z.x, z.x_stride, memory<double>(at().x_norms)}, stream_);
  JudgeWork work = judge_of(z.wave, 0, problem_.tiles());
  work.tail = memory<char>(at().tail);
  judge(work, stream_);
  add_tally(work, memory<Tally>(at().tally), stream_);
  add_tail_weight(z);
}

void Pass::judge_chunk(const Logits& z, const Chunk& chunk) const {
  make_x_norms({problem_.dtype, z.wave, z.x, z.x_stride, memory<double>(at().x_norms)}, stream_);
  const int64_t tiles = ceil_div(chunk.columns, kFilterColumns);
  judge(judge_of(z.wave, chunk.column / kFilterColumns, tiles), stream_);
}

// Those that a product's tile takes: its own, or of a cluster's 256 rows those of both blocks.
BlockLists Pass::lists_x(const Chunk& chunk) const {
  if (!filtered()) return {};
  return {memory<int32_t>(at().lists_x), ceil_div(chunk.columns, kFilterColumns) + 1};
}
BlockLists Pass::lists_w(const Logits& z) const {
  if (!filtered()) return {};
  return {memory<int32_t>(at().lists_w), ceil_div(z.wave.rows, kFilterRows) + 1};
}

void Pass::list_kept(const Logits& z, const Chunk& chunk, bool units) const {
  const int64_t rows = ceil_div(z.wave.rows, kFilterRows);
  const int64_t tiles = ceil_div(chunk.columns, kFilterColumns);
  ListWork by_rows;
  by_rows.from = judge_.keep + chunk.column / kFilterColumns * judge_.stride;
  ListWork by_classes = by_rows;
  by_rows.members = by_classes.items = rows;
  by_rows.items = by_classes.members = tiles;
  by_rows.group_stride = by_classes.item_stride = 1;
  by_rows.item_stride = by_classes.group_stride = judge_.stride;
  by_rows.stride = tiles + 1;
  by_classes.stride = rows + 1;
  by_rows.unite = wide_ && tiles_.wide_large(z.wave.rows, op_.width) ? 2 : 1;
  by_classes.unite = wide_ && tiles_.wide_large(chunk.columns, op_.width) ? 2 : 1;
  by_rows.lists = memory<int32_t>(at().lists_x);
  by_classes.lists = memory<int32_t>(at().lists_w);
  if (to_.dx) list_blocks(by_rows, stream_);
  if (to_.dweight) list_blocks(by_classes, stream_);
  if (!units) return;
  const bool large = tiles_.wide_large(z.wave.rows, chunk.columns);
  UnitWork work;
  work.wave = z.wave;
  work.keep = keep_blocks();
  work.column = chunk.column;
  work.columns = chunk.columns;
  work.unit_rows = large ? gemm::kWideLargeM : gemm::kWideSmallM;
  work.unit_columns = large ? gemm::kWideLargeN : gemm::kWideSmallN;
  work.units = memory<int32_t>(at().units);
  list_units(work, stream_);
}

// A row of dz and the tiles of a wave multiply as a row and its classes do.
void Pass::add_tail_x(const Logits& z) const {
  ProductX p = product_x(z);
  p.dz = memory<char>(at().tail);
  p.stride = judge_.tail_stride;
  p.columns = problem_.tiles();
  p.weight = memory<char>(at().mean_rows);
  p.carry = true;
  multiply(p);
}

void Pass::add_tail_weight(const Logits& z) const {
  if (to_.dweight) {
    ProductW p = product_w(z);
    p.dz = memory<char>(at().tail);
    p.stride = judge_.tail_stride;
    p.columns = problem_.tiles();
    p.sums = memory<char>(at().tail_sums);
    p.carry = z.wave.first > 0;
    p.last = false;
    multiply(p);
    if (z.wave.first + z.wave.rows == kept_.most) share_tail();
  }
  if (!to_.dbias) return;
  BiasWork work;
  work.dtype = problem_.dtype;
  work.wave = z.wave;
  work.dz = memory<char>(at().tail);
  work.stride = judge_.tail_stride;
  work.columns = problem_.tiles();
  work.sums = memory<double>(at().tail_bias);
  work.carry = z.wave.first > 0;
  work.last = false;
  add_bias(work, stream_);
}

void Pass::share_tail() const {
  const auto by = [&](auto* sums, auto kernel) {
    const Shape shape{ceil_div(problem_.tiles() * op_.width, kThreads), kThreads};
    launch(stream_, kernel, shape, sums, op_.width, op_.classes);
  };
  problem_.dtype == DType::f64
      ? by(memory<double>(at().tail_sums), linear_share_tail_kernel<double>)
      : by(memory<float>(at().tail_sums), linear_share_tail_kernel<float>);
}

void* Pass::tail_sums(const Chunk& chunk) const {
  return memory<char>(at().tail_sums) +
         chunk.column / kFilterColumns * op_.width * problem_.accumulator();
}

void Pass::report(bool judged) const {
  if (!filter_.report) return;
  const Tally* const tally = judged ? memory<Tally>(at().tally) : nullptr;
  write_report(judge_, tally, filter_.report.as<double>(), stream_);
}

}  // namespace surprisal::linear_cross_entropy
