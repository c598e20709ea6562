// Block-sparse gradients on the device. Of every row and tile of kFilterColumns classes forward has
// kept the largest z and the mass (TileSums), from which backward knows before it makes any z anew
// which blocks of kFilterRows rows x one tile are dropped: no slopes, no part in either product. A
// dropped block of dz counts as the means of its rows, mean = p mass / classes of the tile,
//   dx_i += sum of means_i · W of the tile,   dW_c += sum over rows of mean_i x_i,
// so that no class is left without a gradient. With l1 = |p| mass and l2 >= the norm of a row of
// the block (l2^2 <= the largest |dz| times l1) and W's rows relative to their mean w,
//   |error of dx, one row|   <= sum over tiles of min(l1 max|W - w|, l2 |W - w|_F)
//   |error of dW, one block| <= |x of the block|_F |block of dz|_F
// as in cpu/logit_filter.h; label smoothing's part, which is not in the mass, comes on top.
#pragma once
#include "ops/linear_cross_entropy/rows_device.h"

namespace surprisal::linear_cross_entropy {

// Of a tile's rows of W and class weights.
struct WeightFacts {
  double centred_largest, centred_norm;  // relative to their mean
  double largest, norm;
  double sum, root;  // of the class weights, and of their squares
};
struct WeightFactsWork {
  DType dtype = DType::f32;
  const void* weight = nullptr;
  cuda::Numbers class_weight;
  int64_t width = 0, classes = 0;
  void* mean_rows = nullptr;  // (tiles, width) of the dtype
  WeightFacts* facts = nullptr;
};
void make_weight_facts(const WeightFactsWork& work, cuda::Stream& stream);

// Frobenius norms of blocks of x.
struct NormsWork {
  DType dtype = DType::f32;
  Wave wave;
  const void* x = nullptr;
  int64_t stride = 0;
  double* norms = nullptr;
};
void make_x_norms(const NormsWork& work, cuda::Stream& stream);

struct JudgeWork {
  DType dtype = DType::f32;
  Kept kept;
  Wave wave;
  int64_t classes = 0;
  int64_t first_tile = 0, tiles = 0;  // multiples of kFilterGroup; beyond the classes none is kept
  const void* tile_sums = nullptr;    // see StatesWork
  int64_t tile_stride = 0;
  const void* slopes = nullptr;  // of the wave
  const RowState* saved = nullptr;
  LogitMap map;
  double eps = -1, max_error = -1;  // LogitFilter
  cuda::Numbers upstream;           // the one number, or absent
  const WeightFacts* facts = nullptr;
  const double* x_norms = nullptr;
  bool groups = false;  // of 2 x 2 blocks of which one is kept all are written
  uint8_t* keep = nullptr;
  int64_t row_blocks = 0, stride = 0;  // of a tile; even
  double* costs = nullptr;             // (tiles, stride, 2) bounds on the errors of dx and dW
  void* tail = nullptr;                // (rows, tail_stride) of the dtype: p mass; may be absent
  int64_t tail_stride = 0;
  const float* unit = nullptr;  // see SlopesWork
};
void judge(const JudgeWork& work, cuda::Stream& stream);

struct Tally {
  double kept = 0, blocks = 0, error_x = 0, error_weight = 0;  // error_x: squares
};
// Adds a judged wave.
void add_tally(const JudgeWork& work, Tally* tally, cuda::Stream& stream);
// kept, boundX, boundWeight; without a tally nothing was dropped.
void write_report(const JudgeWork& work, const Tally* tally, double* report, cuda::Stream& stream);

}  // namespace surprisal::linear_cross_entropy
