// What the CUDA kernels share: the rows that are scored, the logits of a wave of them, and the
// steps of a pass (kinds.h has those of each dtype). A wave is a run of kept rows whose x
// lies compact; a chunk a run of classes; a span one of the runs of classes that states are kept
// of, whose borders depend on V alone. All results of a row are made from its spans in their order.
#pragma once
#include "core/row_loss.h"
#include "cuda/launch.h"
#include "cuda/numbers.h"
#include "ops/linear_cross_entropy/op.h"
#include "ops/linear_cross_entropy/plan.h"
#include "ops/linear_cross_entropy/row_state.h"

namespace surprisal::linear_cross_entropy {

// The scored rows that are not ignored, in order. `most` is known on the host, `count` is not.
struct Kept {
  int64_t* count = nullptr;     // (1)
  int64_t* position = nullptr;  // (most) in the outputs
  int32_t* target = nullptr;    // (most) class, -1 for one of another shard
  int64_t most = 0, length = 1, scored = 1, shift = 0;

  // Of x; target and token weight lie `shift` further.
  __device__ int64_t row(int64_t position) const {
    return position / scored * length + position % scored;
  }
};

struct Wave {
  const int64_t* count = nullptr;
  int64_t first = 0, rows = 0;

  __device__ int64_t live() const {
    const int64_t n = cuda::load(count) - first;
    return n < 0 ? 0 : n < rows ? n : rows;
  }
  // Rows of x and of dz that products read: those behind the live ones are zeros.
  __device__ int64_t cleared() const {
    const int64_t n = round_to(live(), kClearedRows);
    return n < rows ? n : rows;
  }
};

// How z of a wave is made; pointers to rows are those of its first.
struct Logits {
  Wave wave;
  const void* x = nullptr;       // (rows, x_stride), zeros up to the next kClearedRows
  int64_t x_stride = 0;          // a multiple of 8 elements
  const void* weight = nullptr;  // (classes, width)
  const void* bias = nullptr;    // (classes), may be absent
  int64_t width = 0, classes = 0;
  const int32_t* target = nullptr;     // (rows)
  const void* class_weight = nullptr;  // (classes) of accumulators; absent: all 1
  LogitMap map;
};

// What forward knows of a row in kFilterColumns classes, its target apart: their largest z, and the
// sum of e^(z - max) dz/dx, dz/dx as a part of the steepest.
template <class A>
struct alignas(2 * sizeof(A)) TileSums {
  A max, mass;
};

// Which blocks of dz a filter keeps, by the wave's rows and the tiles of all classes. The others
// are nowhere multiplied. Where a product takes several blocks in one step, of which one is kept,
// the others are kWritten too, as zeros.
struct Keep {
  static constexpr uint8_t kKept = 1, kWritten = 2;
  const uint8_t* blocks = nullptr;  // (tiles, stride), stride of rows; absent: all are kept
  int64_t stride = 0;

  __device__ uint8_t at(int64_t row, int64_t column) const {
    if (!blocks) return kKept | kWritten;
    return cuda::load(blocks + column / kFilterColumns * stride + row / kFilterRows);
  }
  __device__ bool kept(int64_t row, int64_t column) const { return at(row, column) & kKept; }
  __device__ bool written(int64_t row, int64_t column) const { return at(row, column) & kWritten; }
};

// Of each group of blocks, those that a sum takes, see ListedSteps; absent: all.
struct BlockLists {
  const int32_t* lists = nullptr;  // (groups, stride)
  int64_t stride = 0;

  __device__ const int32_t* of(int64_t group) const {
    return lists ? lists + group * stride : nullptr;
  }
};

// What a span says of a row. `extra` and `weight` (the sum of the class weights) as Extra asks; for
// Extra::largest `others` is the place in the span of the first largest z.
template <class A>
struct alignas(16) SpanState {
  A max, others, extra, weight;
};

// Of the rows of a wave, see Stored.
struct StoredRows {
  void* exponentials = nullptr;  // (rows, stride) float16, then dz of the dtype; 0 at targets
  float* largest = nullptr;      // (rows, tiles)
  int64_t rows = 0, stride = 0, tiles = 0;
};

struct StatesWork {
  Logits z;
  Extra extra = Extra::none;
  int64_t span = 0, spans = 0;
  void* states = nullptr;    // (spans, rows) SpanState
  void* target_z = nullptr;  // (rows) of accumulators, -inf where no class is the target
  void* chunk = nullptr;     // of dtypes whose kernels store z: (rows, columns)
  int64_t columns = 0;       // a multiple of span
  StoredRows stored;
  void* tile_sums = nullptr;  // (tiles, tile_stride) TileSums of the wave's rows; may be absent
  int64_t tile_stride = 0;
};

// See RowCoefficients.
template <class A>
struct alignas(8) Slope {
  A max, p, q, w, own;
  int32_t target;
};

struct SlopesWork {
  Logits z;
  const void* slopes = nullptr;  // (rows) Slope
  bool general = false;          // q or w are not all 0
  bool own_from_z = false;
  const float* unit = nullptr;  // dz is stored times this power of two; absent: 1
  void* own_dz = nullptr;       // (rows) of accumulators: dz of the target, not times the unit
  void* dz = nullptr;           // (rows, stride) of the dtype, 0 at targets
  int64_t stride = 0, column = 0, columns = 0;
  Keep keep;
  // Of wgmma's tiles: how many are written, then which; absent: all.
  const int32_t* units = nullptr;
};

// sums = carry ? sums + dz·W : dz·W.
struct ProductX {
  Wave wave;
  const void* dz = nullptr;
  int64_t stride = 0, column = 0, columns = 0;
  const void* weight = nullptr;  // of class 0
  int64_t width = 0;
  void* sums = nullptr;  // (rows, sums_stride) of accumulators
  int64_t sums_stride = 0;
  bool carry = false;
  BlockLists classes;  // by rows
};

// Sorted keys of the kept rows: target << 32 | row. `starts` are the places in them of the chunk's
// classes and of the one behind.
struct TargetRows {
  const uint64_t* keys = nullptr;
  const int64_t* starts = nullptr;  // (columns + 1)
  const void* own_dz = nullptr;     // of kept row 0
  // What sum_segments has added up of the places that begin there, times the unit of dz; at the end
  // of a line the sum of their dz.
  void* segments = nullptr;
  int64_t segment_stride = 0;
  Kept kept;

  template <class A>
  __device__ A* segment(int64_t place) const {
    return static_cast<A*>(segments) + place / kTargetSegment * segment_stride;
  }
};

// Rows of dW = dzᵀ·x, and at the end dz of the targets times their x.
struct ProductW {
  Wave wave;
  const void* dz = nullptr;
  int64_t stride = 0, column = 0, columns = 0;
  const void* x = nullptr;  // of the wave
  int64_t x_stride = 0, width = 0;
  const float* unit = nullptr;
  void* sums = nullptr;  // (columns, width) of accumulators between waves
  bool carry = false, last = true;
  void* out = nullptr;  // (columns, width) of the dtype; or float32, which is added to
  bool add = false;
  TargetRows targets;
  const void* all_x = nullptr;  // of row 0
  BlockLists rows;              // by classes
  // What dropped blocks add to each class of a tile; absent: nothing.
  const void* tail = nullptr;  // (tiles, width) of accumulators, of the chunk
};

}  // namespace surprisal::linear_cross_entropy
