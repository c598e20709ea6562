// Kernels over rows, between the products: which rows are kept, sums over rows, what a row's states
// become (its loss, its log-probability, ...), what its gradient is made from. Scalars are double.
#pragma once
#include "ops/linear_cross_entropy/device.h"

namespace surprisal::linear_cross_entropy {

struct Totals {
  double denominator = 0;  // of the mean
  double classes = 0;      // sum of the class weights
  double largest = 0;      // of them
  double loss = 0;         // of the rows, weighted
};

struct KeepWork {
  Kept kept;
  const void* target = nullptr;  // absent: all rows are kept
  DType dtype = DType::i32;
  int64_t classes = 0, ignore = 0, offset = 0;
  bool shard = false;  // targets of other shards count as -1
  cuda::FaultSite fault{};
};
void keep_rows(const KeepWork& work, cuda::Stream& stream);

struct TotalsWork {
  Kept kept;
  cuda::Numbers class_weight, token_weight;
  const double* row_loss = nullptr;  // (kept rows), may be absent
  int64_t classes = 0, tokens = 0;   // how many weights are checked, and those of classes summed
  cuda::FaultSite class_fault{}, token_fault{};
  cuda::NumbersOut widened;  // class weights as accumulators, may be absent
  Totals* partial = nullptr;
  Totals* totals = nullptr;
  cuda::NumbersOut loss;  // (1) the reduction, may be absent
  Reduction reduction = Reduction::mean;
};
void add_up(const TotalsWork& work, cuda::Stream& stream);

// What ends in a row: the loss, log p and its companions, one shard's part, the largest class.
enum class Ending : int32_t { loss, logprobs, partials, largest };

struct RowWork {
  Ending ending = Ending::loss;
  DType dtype = DType::f32;  // of x
  Kept kept;
  RowOptions options;
  Reduction reduction = Reduction::mean;
  cuda::Numbers class_weight, token_weight, upstream;  // upstream of the loss, logprob or gradLoss
  cuda::Numbers dlse, dentropy;
  const Totals* totals = nullptr;
  int64_t classes = 0;
  RowState* saved = nullptr;  // (positions)
};

struct FinishWork : RowWork {
  Wave wave;
  Extra extra = Extra::none;
  const void* states = nullptr;
  const void* target_z = nullptr;
  int64_t span = 0, spans = 0;
  double* row_loss = nullptr;  // (kept rows)
  // loss without a reduction, or logprob, lse and entropy, or the four of partials; by position.
  cuda::NumbersOut out[4];
  int32_t* place = nullptr;  // (positions) largest class
};
void finish_rows(const FinishWork& work, cuda::Stream& stream);

struct SlopeWork : RowWork {
  const void* lse = nullptr;  // of a shard's gradient: float32 (positions)
  void* slopes = nullptr;     // (kept rows) Slope
  LogitMap map;
  float* bounds = nullptr;  // (kept rows) of |dz| off the target; may be absent
  float* unit = nullptr;    // the power of two that brings their largest near 2^14
};
void make_slopes(const SlopeWork& work, cuda::Stream& stream);

// dz of the targets, where it will not come with the slopes.
struct OwnWork {
  DType dtype = DType::f32;
  Kept kept;
  const void* x = nullptr;  // of row 0
  const void* weight = nullptr;
  const void* bias = nullptr;
  int64_t width = 0;
  LogitMap map;
  const void* slopes = nullptr;  // (kept rows) Slope
  void* own_dz = nullptr;        // (kept rows) of accumulators
};
void make_own_slopes(const OwnWork& work, cuda::Stream& stream);

// dz of a wave whose exponentials are stored, in their place.
struct StoredSlopes {
  DType dtype = DType::bf16;
  Wave wave;
  StoredRows stored;
  const void* slopes = nullptr;  // of the wave
  Keep keep;
  const float* unit = nullptr;  // see SlopesWork
  float one = 1;                // dz/dx where z is the largest and what is stored 1
};
void slopes_of_stored(const StoredSlopes& work, cuda::Stream& stream);

// The gradient of the token weights; row_loss and the total of the losses are made on the way.
struct TokenWork : RowWork {
  double* row_loss = nullptr;
  Totals* losses = nullptr;
  Totals* partial = nullptr;
  cuda::NumbersOut out;  // like token_weight
};
void token_gradient(const TokenWork& work, cuda::Stream& stream);

// x of the wave's rows, compact; zeros after the last row of the tile and in the padding.
void gather(DType dtype, const Kept& kept, const Wave& wave, const void* x, int64_t width, void* to,
            int64_t stride, cuda::Stream& stream);

// -inf as accumulators.
void fill_none(DType dtype, void* to, int64_t count, cuda::Stream& stream);

// keys of the kept rows, sorted; `more` is as much memory. Gives the place they end up in.
uint64_t* sort_targets(const Kept& kept, uint64_t* keys, uint64_t* more, cuda::Stream& stream);
void find_starts(const Kept& kept, const uint64_t* keys, int64_t column, int64_t columns,
                 int64_t* starts, cuda::Stream& stream);

// Sums over each kTargetSegment rows of one target, counted from its first: TargetRows::segment.
struct SegmentWork {
  DType dtype = DType::f32;
  TargetRows targets;
  int64_t column = 0, columns = 0;  // classes, whose dz is known
  const void* x = nullptr;          // of row 0
  int64_t width = 0;
  const float* unit = nullptr;
};
void sum_segments(const SegmentWork& work, cuda::Stream& stream);

// dx of the wave's rows: sums / unit + dz of the target times its row of W.
struct WriteX {
  DType dtype = DType::f32;
  Kept kept;
  Wave wave;
  const void* sums = nullptr;
  int64_t sums_stride = 0, width = 0;
  const float* unit = nullptr;
  const void* own_dz = nullptr;  // of the wave
  const void* weight = nullptr;
  void* out = nullptr;  // (all rows, width)
};
void write_x(const WriteX& work, cuda::Stream& stream);

// dbias of a chunk: sums over the wave's rows of dz, and at the end of the targets'.
struct BiasWork {
  DType dtype = DType::f32;
  Wave wave;
  const void* dz = nullptr;
  int64_t stride = 0, columns = 0;
  const float* unit = nullptr;
  double* sums = nullptr;  // (columns) between waves
  bool carry = false, last = true;
  TargetRows targets;
  void* out = nullptr;  // (columns)
  // Of a filter. tail: what dropped blocks come to, for the classes of a tile together, as in
  // ProductW.
  Keep keep;
  int64_t column = 0, left = 0;  // the chunk's first class, and how many there are from it on
  const double* tail = nullptr;  // (tiles) of the chunk
};
void add_bias(const BiasWork& work, cuda::Stream& stream);

}  // namespace surprisal::linear_cross_entropy
