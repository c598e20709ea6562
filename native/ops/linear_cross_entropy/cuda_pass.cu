#include "ops/linear_cross_entropy/pass.h"

#include <algorithm>

#include "ops/linear_cross_entropy/kinds.h"

namespace surprisal::linear_cross_entropy {
namespace {

using namespace cuda;

struct Steps {
  void (*states)(const StatesWork&, const Tiles&, Stream&);
  void (*slopes)(const SlopesWork&, const Tiles&, Stream&);
  void (*product_x)(const ProductX&, const Tiles&, Stream&);
  void (*product_w)(const ProductW&, const Tiles&, Stream&);
};

template <class T>
Steps plain_steps() {
  return {plain_states<T>, plain_slopes<T>, plain_product_x<T>, plain_product_w<T>};
}
template <class T>
Steps tile_steps() {
  return {states_by_tiles<T>, slopes_by_tiles<T>, product_x_by_tiles<T>, product_w_by_tiles<T>};
}
template <class T>
Steps warpgroup_steps() {
  return {states_by_warpgroups<T>, slopes_by_warpgroups<T>, product_x_by_warpgroups<T>,
          product_w_by_warpgroups<T>};
}
template <class T>
Steps half_steps(bool wide) {
  return wide ? warpgroup_steps<T>() : tile_steps<T>();
}
Steps steps_of(DType dtype, bool wide) {
  switch (dtype) {
    case DType::f64:
      return plain_steps<double>();
    case DType::f16:
      return half_steps<Float16>(wide);
    case DType::bf16:
      return half_steps<BFloat16>(wide);
    default:
      return plain_steps<float>();
  }
}

// `bytes` further.
void* moved(void* p, int64_t bytes) { return static_cast<char*>(p) + bytes; }

}  // namespace

Pass::Pass(const Linear& op, const Problem& now, const Problem& later, const char* name,
           Stream& stream)
    : op_(op), stream_(stream), problem_(now), plan_(plan_pass(now)) {
  require(op.classes < (int64_t{1} << 31) && now.rows < (int64_t{1} << 32), name);
  const int64_t minimum = std::max(plan_.minimum, plan_pass(later).minimum);
  require_workspace(name, minimum, op.workspace_bytes);
  const Properties& device = stream.properties();
  if (device.arch < 80 && size_of(op.x.dtype) == 2) {
    throw Error(Code::invalid_type, std::string(name) +
                                        ": expected float32 or float64 on a device of compute "
                                        "capability below 8.0, got " +
                                        name_of(op.x.dtype));
  }
  tiles_.processors = device.processors;
  wide_ = now.wide(device.has_wgmma(), reinterpret_cast<uintptr_t>(op.weight.data));
  memory_ = stream.scratch<char>(plan_.at.bytes);
  kept_.count = memory<int64_t>(at().count);
  kept_.position = memory<int64_t>(at().position);
  kept_.target = memory<int32_t>(at().target);
  kept_.most = now.rows;
  kept_.length = std::max<int64_t>(1, op.length);
  kept_.scored = std::max<int64_t>(1, op.length - op.shift);
  kept_.shift = op.shift;
}

void Pass::keep() {
  KeepWork work;
  work.kept = kept_;
  work.classes = op_.classes;
  keep_rows(work, stream_);
}

void Pass::keep(const Scored& op, FaultSite fault, bool shard, int64_t offset) {
  KeepWork work;
  work.kept = kept_;
  work.target = op.target.data;
  work.dtype = op.target.dtype;
  work.classes = op.classes;
  work.ignore = op.ignore_index;
  work.offset = offset;
  work.shard = shard;
  work.fault = fault;
  if (kept_.most == 0) work.target = nullptr;
  keep_rows(work, stream_);
}

NumbersOut Pass::widened() const {
  if (!problem_.class_weight) return {};
  return {memory<char>(at().class_weight), problem_.dtype == DType::f64 ? DType::f64 : DType::f32};
}

Wave Pass::wave(int64_t first) const {
  return {kept_.count, first, std::min(plan_.wave, kept_.most - first)};
}

template <class F>
void Pass::each_wave(int64_t first, F&& f) const {
  for (; first < kept_.most; first += plan_.wave) f(wave(first));
}
template <class F>
void Pass::each_chunk(F&& f) const {
  for (int64_t column = 0; column < op_.classes; column += plan_.chunk)
    f(Chunk{column, std::min(plan_.chunk, op_.classes - column), memory<char>(at().chunk),
            plan_.chunk});
}

Logits Pass::gather_wave(const Wave& wave) const {
  Logits z;
  z.wave = wave;
  z.x = memory<char>(at().x);
  z.x_stride = round_to(op_.width, 8);
  z.weight = op_.weight.data;
  z.bias = op_.bias.data;
  z.width = op_.width;
  z.classes = op_.classes;
  z.target = kept_.target + wave.first;
  z.class_weight = widened().data;
  z.map = logit_map(op_.temperature, op_.softcap, op_.cap_first);
  gather(op_.x.dtype, kept_, wave, op_.x.data, op_.width, memory<char>(at().x), z.x_stride,
         stream_);
  return z;
}

void Pass::states(Extra extra, FinishWork finish) {
  finish.extra = extra;
  finish.dtype = problem_.dtype;
  finish.kept = kept_;
  finish.classes = op_.classes;
  finish.span = problem_.span();
  finish.spans = problem_.spans();
  finish.states = memory<char>(at().states);
  finish.target_z = memory<char>(at().target_z);
  finish.row_loss = memory<double>(at().row_loss);
  each_wave(0, [&](const Wave& wave) {
    StatesWork work;
    work.z = gather_wave(wave);
    work.extra = extra;
    work.span = finish.span;
    work.spans = finish.spans;
    work.states = memory<char>(at().states);
    work.target_z = memory<char>(at().target_z);
    work.chunk = memory<char>(at().chunk);
    work.columns = plan_.chunk;
    work.stored = stored_of(wave);
    if (filter_.tile_sums) {
      work.tile_sums = moved(filter_.tile_sums.data, wave.first * 2 * problem_.accumulator());
      work.tile_stride = kept_.most;
    }
    fill_none(problem_.dtype, work.target_z, wave.rows, stream_);
    steps_of(problem_.dtype, wide_).states(work, tiles_, stream_);
    finish.wave = wave;
    finish_rows(finish, stream_);
  });
}

void Pass::gradients(SlopeWork slopes, const Gradients& to, bool general, bool own_from_z) {
  if (!problem_.gradient()) return report(false);
  to_ = to;
  general_ = general;
  own_from_z_ = own_from_z;
  const auto zero = [&](const View& view) {
    if (view) stream_.fill_bytes(view.data, 0, view.size * size_of(view.dtype));
  };
  zero(to.dx);  // rows that no product touches: ignored, or shifted out
  if (kept_.most == 0) {
    if (!to.add_to_dweight) zero(to.dweight);
    zero(to.dbias);
    return report(false);
  }
  slopes.dtype = problem_.dtype;
  slopes.kept = kept_;
  slopes.classes = op_.classes;
  slopes.map = logit_map(op_.temperature, op_.softcap, op_.cap_first);
  slopes.slopes = memory<char>(at().slopes);
  if (problem_.dtype == DType::f16) {
    slopes.bounds = memory<float>(at().bounds);
    slopes.unit = memory<float>(at().unit);
  }
  make_slopes(slopes, stream_);
  if (stored_.rows > 0 || filtered()) own_slopes();
  if (filtered()) begin_filter(slopes);
  if (to.dweight || to.dbias) {
    keys_ =
        sort_targets(kept_, memory<uint64_t>(at().keys), memory<uint64_t>(at().more_keys), stream_);
  }
  if (stored_.rows > 0) stored_gradients();
  const bool whole = to.dx || !plan_.weight_sweep;
  if (whole || filtered()) {
    each_wave(stored_.rows, [&](const Wave& wave) {
      const Logits z = gather_wave(wave);
      if (filtered()) judge_wave(z);
      if (!whole) return;
      each_chunk([&](const Chunk& chunk) {
        if (filtered()) list_kept(z, chunk, wide_);
        slopes_of(z, chunk);
        if (to.dx) add_x(z, chunk);
        if (!plan_.weight_sweep) add_weight(z, chunk);
      });
      if (to.dx) finish_x(z);
    });
  }
  report(filtered());
  if (plan_.weight_sweep) sweep_weight();
}

void Pass::sweep_weight() const {
  each_chunk([&](const Chunk& chunk) {
    each_wave(0, [&](const Wave& wave) {
      const Logits z = gather_wave(wave);
      if (filtered()) {
        judge_chunk(z, chunk);
        list_kept(z, chunk, wide_);
      }
      slopes_of(z, chunk);
      add_weight(z, chunk);
    });
  });
}

void Pass::slopes_of(const Logits& z, const Chunk& chunk) const {
  const bool wide = problem_.dtype == DType::f64;
  const int64_t slope = wide ? sizeof(Slope<double>) : sizeof(Slope<float>);
  SlopesWork work;
  work.z = z;
  work.slopes = memory<char>(at().slopes + z.wave.first * slope);
  work.general = general_;
  work.own_from_z = own_from_z_;
  if (problem_.dtype == DType::f16) work.unit = memory<float>(at().unit);
  work.own_dz = memory<char>(at().own_dz + z.wave.first * problem_.accumulator());
  work.dz = chunk.dz;
  work.stride = chunk.stride;
  work.column = chunk.column;
  work.columns = chunk.columns;
  work.keep = keep_blocks();
  if (filtered() && wide_) work.units = memory<int32_t>(at().units);
  steps_of(problem_.dtype, wide_).slopes(work, tiles_, stream_);
}

void Pass::multiply(const ProductX& p) const {
  steps_of(problem_.dtype, wide_).product_x(p, tiles_, stream_);
}
void Pass::multiply(const ProductW& p) const {
  steps_of(problem_.dtype, wide_).product_w(p, tiles_, stream_);
}

ProductX Pass::product_x(const Logits& z) const {
  ProductX p;
  p.wave = z.wave;
  p.width = op_.width;
  p.sums = memory<char>(at().sums_x);
  p.sums_stride = z.x_stride;
  return p;
}
ProductW Pass::product_w(const Logits& z) const {
  ProductW p;
  p.wave = z.wave;
  p.x = z.x;
  p.x_stride = z.x_stride;
  p.width = op_.width;
  return p;
}

void Pass::add_x(const Logits& z, const Chunk& chunk) const {
  ProductX p = product_x(z);
  p.dz = chunk.dz;
  p.stride = chunk.stride;
  p.column = chunk.column;
  p.columns = chunk.columns;
  p.weight = op_.weight.data;
  p.carry = chunk.column > 0;
  p.classes = lists_x(chunk);
  multiply(p);
}

void Pass::finish_x(const Logits& z) const {
  if (filtered()) add_tail_x(z);
  WriteX work;
  work.dtype = problem_.dtype;
  work.kept = kept_;
  work.wave = z.wave;
  work.sums = memory<char>(at().sums_x);
  work.sums_stride = z.x_stride;
  work.width = op_.width;
  if (problem_.dtype == DType::f16) work.unit = memory<float>(at().unit);
  work.own_dz = memory<char>(at().own_dz + z.wave.first * problem_.accumulator());
  work.weight = op_.weight.data;
  work.out = to_.dx.data;
  write_x(work, stream_);
}

void Pass::add_weight(const Logits& z, const Chunk& chunk) const {
  if (!to_.dweight && !to_.dbias) return;
  const bool first = z.wave.first == 0, last = z.wave.first + z.wave.rows == kept_.most;
  TargetRows targets;
  targets.keys = keys_;
  targets.starts = memory<int64_t>(at().starts);
  targets.own_dz = memory<char>(at().own_dz);
  targets.segments = memory<char>(at().segments);
  targets.segment_stride = segment_stride(op_.width);
  targets.kept = kept_;
  const float* unit = problem_.dtype == DType::f16 ? memory<float>(at().unit) : nullptr;
  if (last) {
    find_starts(kept_, keys_, chunk.column, chunk.columns, memory<int64_t>(at().starts), stream_);
    sum_segments(
        {problem_.dtype, targets, chunk.column, chunk.columns, op_.x.data, op_.width, unit},
        stream_);
  }
  if (to_.dweight) {
    ProductW p = product_w(z);
    p.dz = chunk.dz;
    p.stride = chunk.stride;
    p.column = chunk.column;
    p.columns = chunk.columns;
    p.unit = unit;
    p.add = to_.add_to_dweight;
    p.out = moved(to_.dweight.data, chunk.column * op_.width * size_of(to_.dweight.dtype));
    p.sums = problem_.carries() ? p.out : memory<char>(at().sums_w);
    p.carry = !first && !p.add;
    p.last = last;
    p.targets = targets;
    p.all_x = op_.x.data;
    if (filtered()) {
      p.rows = lists_w(z);
      p.tail = tail_sums(chunk);
    }
    multiply(p);
  }
  if (!to_.dbias) return;
  BiasWork work;
  work.dtype = problem_.dtype;
  work.wave = z.wave;
  work.dz = chunk.dz;
  work.stride = chunk.stride;
  work.columns = chunk.columns;
  work.unit = unit;
  work.sums = memory<double>(at().bias_sums) + chunk.column;
  work.carry = !first;
  work.last = last;
  work.targets = targets;
  work.out = moved(to_.dbias.data, chunk.column * size_of(to_.dbias.dtype));
  if (filtered()) {
    work.keep = keep_blocks();
    work.column = chunk.column;
    work.left = op_.classes - chunk.column;
    work.tail = memory<double>(at().tail_bias) + chunk.column / kFilterColumns;
  }
  add_bias(work, stream_);
}

}  // namespace surprisal::linear_cross_entropy
