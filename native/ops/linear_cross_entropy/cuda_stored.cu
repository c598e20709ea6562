// dz of the rows whose exponentials forward has kept (Stored), in their place: one read and one
// write of two bytes an element where making z anew takes 2 D flop, a fortieth of the time at D of
// four thousand.
#include <algorithm>
#include <cmath>

#include "ops/linear_cross_entropy/pass.h"
#include "ops/linear_cross_entropy/terms.h"

namespace surprisal::linear_cross_entropy {
namespace {

using namespace cuda;

constexpr int kThreads = 256;
constexpr int kElements = 8;  // of a thread

template <class T>
__global__ void __launch_bounds__(kThreads) linear_stored_kernel(StoredSlopes work) {
  const StoredRows& stored = work.stored;
  const int64_t parts = ceil_div(stored.stride, kThreads * kElements);
  const int64_t n = block_index() / parts;
  const int64_t i = (block_index() % parts * kThreads + thread_index()) * kElements;
  if (n >= work.wave.cleared() || i >= stored.stride || !work.keep.written(n, i)) return;
  auto* at = static_cast<uint16_t*>(stored.exponentials) + n * stored.stride + i;
  Pack<T, kElements> dz;
#pragma unroll
  for (int e = 0; e < kElements; ++e) dz.at[e] = from_float<T>(0.0f);
  Slope<float> row{};
  if (n < work.wave.live()) row = load_slope<float>(work.slopes, n);
  if (row.p != 0 && work.keep.kept(n, i)) {
    const float largest = load(stored.largest + n * stored.tiles + i / kStoredTile);
    const float unit = work.unit ? load(work.unit) : 1.0f;
    const float factor = std::exp(largest - row.max) * row.p * work.one * unit;
    const auto shares = load(reinterpret_cast<const Pack<Float16, kElements>*>(at));
#pragma unroll
    for (int e = 0; e < kElements; ++e) dz.at[e] = from_float<T>(to_float(shares.at[e]) * factor);
  }
  store(reinterpret_cast<Pack<T, kElements>*>(at), dz);
}

}  // namespace

void slopes_of_stored(const StoredSlopes& work, Stream& stream) {
  const int64_t parts = ceil_div(work.stored.stride, kThreads * kElements);
  const Shape shape{work.wave.rows * parts, kThreads};
  work.dtype == DType::f16 ? launch(stream, linear_stored_kernel<Float16>, shape, work)
                           : launch(stream, linear_stored_kernel<BFloat16>, shape, work);
}

void Pass::own_slopes() const {
  OwnWork work;
  work.dtype = problem_.dtype;
  work.kept = kept_;
  work.x = op_.x.data;
  work.weight = op_.weight.data;
  work.bias = op_.bias.data;
  work.width = op_.width;
  work.map = logit_map(op_.temperature, op_.softcap, op_.cap_first);
  work.slopes = memory<char>(at().slopes);
  work.own_dz = memory<char>(at().own_dz);
  make_own_slopes(work, stream_);
}

void Pass::store(const Stored& stored, void* to) {
  stored_ = {to, reinterpret_cast<float*>(static_cast<char*>(to) + stored.rows * stored.stride * 2),
             stored.rows, stored.stride, stored.tiles};
}

StoredRows Pass::stored_of(const Wave& wave) const {
  StoredRows rows = stored_;
  rows.rows = std::max<int64_t>(0, std::min(stored_.rows - wave.first, wave.rows));
  if (rows.rows == 0) return {};
  rows.exponentials = static_cast<Float16*>(stored_.exponentials) + wave.first * stored_.stride;
  rows.largest += wave.first * stored_.tiles;
  return rows;
}

// All classes at once: dz has room already.
void Pass::stored_gradients() {
  const Wave wave{kept_.count, 0, stored_.rows};
  const LogitMap map = logit_map(op_.temperature, op_.softcap, op_.cap_first);
  StoredSlopes work;
  work.dtype = problem_.dtype;
  work.wave = wave;
  work.stored = stored_;
  work.slopes = memory<char>(at().slopes);
  if (problem_.dtype == DType::f16) work.unit = memory<float>(at().unit);
  work.one = static_cast<float>(std::ldexp(steepest<double>(map), -kStoredExponent));
  const Logits z = gather_wave(wave);
  const Chunk all{0, op_.classes, stored_.exponentials, stored_.stride};
  if (filtered()) {
    judge_wave(z);
    list_kept(z, all, false);
    work.keep = keep_blocks();
  }
  slopes_of_stored(work, stream_);
  if (to_.dx) add_x(z, all);
  add_weight(z, all);
  if (to_.dx) finish_x(z);
}

}  // namespace surprisal::linear_cross_entropy
