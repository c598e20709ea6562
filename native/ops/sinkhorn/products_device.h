// Sums of powers over pairs whose scores are products of many features, on tensor cores. Each
// feature, scaled by a power of 2 to below 2^14, is the sum of two halves h + l of 11 bits (what a
// float32 has beyond is rounded where the points are centred), and x y = hh' + (lh' + hl'): the
// dropped ll' is at most 2^-22 of |x||y|, on average far less. The small products have sums of
// their own, so that tensor cores, which cut each sum to 24 bits, do it D/16 times, and as many
// roundings, instead of the D of a float32 sum; 16-bit points that are no sums have no l, and a
// third of the work. 128 rows stay in shared memory, and two groups of four warps take tiles of 64
// columns in turns, each with copies of its own on the way: while one multiplies, the other makes
// powers. Floor a pair and pass in D features: 6 D (one half: 2 D) FLOP of 16-bit products, one
// power.
#pragma once
#include "ops/sinkhorn/scores_device.h"
#include "ops/sinkhorn/tiles_device.h"

namespace surprisal::sinkhorn {

struct ProductMemory {
  alignas(1024) unsigned char column[kGroups][kStages][kColumnBytes];
  float weight[kGroups][2][kProductColumns];
  float guess[kProductRows], own_weight[kProductRows];
  double sum[2][kGroups][kProductRows];
  float tile_sum[kGroups][2][kGroupWarps][kProductColumns];  // of columns, by warps
  float column_sum[kMostSquare];                             // of a unit
  // The rows' halves follow, a step after the other.
};
static_assert(sizeof(ProductMemory) <= kProductBytes && kProductBytes % 1024 == 0, "plan.h");

// Points as halves: of each 32 features 16 h, their l, and the same of the others.
struct Halves {
  const Float16* at = nullptr;  // (count, stride)
  int count = 0, stride = 0;
};

// Both sides of a pass.
struct ProductSides {
  Halves x, y;
  double shrink = 1;  // scores are the products times this
  bool split = true;  // halves l are not all 0
};

// Walks over the tiles of columns that a group multiplies, a step of features after the other.
struct ProductCursor {
  int u = 0, end = 0;
  int row = 0, row_end = 0, column = 0, from = 0, to = 0;
  int step = 0;

  __device__ void begin(const ProductUnits& units, int first, int last, int group) {
    u = first;
    end = last;
    enter(units, group);
  }
  __device__ bool done() const { return u >= end; }
  __device__ void next(const ProductUnits& units, int steps, int group) {
    if (++step < steps) return;
    step = 0;
    column += kGroups * kProductColumns;
    if (column < to) return;
    row += kProductRows;
    column = from + group * kProductColumns;
    if (row < row_end) return;
    ++u;
    enter(units, group);
  }

 private:
  // The first unit from u on of which the group has a tile.
  __device__ void enter(const ProductUnits& units, int group) {
    for (; u < end; ++u) {
      const ProductUnits::Unit unit = units.at(u);
      row = unit.row;
      row_end = unit.row_end;
      from = unit.from;
      to = unit.to;
      column = from + group * kProductColumns;
      if (column < to) return;
    }
  }
};

// One pass: sums over j of 2^(scale z_ij + guess_i + other_j), all logarithms of base 2, where
// other_j has the column's weight; kBoth: and those over i of the same times the row's weight.
template <bool kBoth>
class ProductPass {
 public:
  __device__ ProductPass(const ProductSides& sides, const ProductUnits& units, float scale,
                         const float* other, ProductMemory& memory)
      : x_(sides.x),
        y_(sides.y),
        units_(units),
        scale_(scale),
        split_(sides.split),
        other_(other),
        memory_(memory),
        rows_(reinterpret_cast<unsigned char*>(&memory) + kProductBytes),
        steps_(static_cast<int>(x_.stride / kStepHalves)),
        group_(cuda::thread_index() / kGroup),
        own_(cuda::thread_index() % kGroup) {}

  // By block `rank` of `size`. guess(i) and weight(i) are a row's; row(i, chunk, sum) and
  // column(j, band, sum) get the sums.
  template <class G, class W, class R, class C>
  __device__ void run(int64_t rank, int64_t size, G&& guess, W&& weight, R&& row, C&& column) {
    const int first = static_cast<int>(rank * units_.count() / size);
    const int end = static_cast<int>((rank + 1) * units_.count() / size);
    next_.begin(units_, first, end, group_);
    cuda::sync_threads();  // what others used this memory for is over
#pragma unroll
    for (int stage = 0; stage < kAhead; ++stage) copy(stage);
    for (int u = first; u < end; ++u) {
      const ProductUnits::Unit unit = units_.at(u);
      const bool columns = kBoth && !(units_.triangle && unit.band == unit.chunk);
      for (int i = unit.row; i < unit.row_end; i += kProductRows) {
        if (i != loaded_) load_rows(i, guess, weight);
        sweep(unit, columns, i == unit.row);
        const double sum = finish();
        if (own_row() && i + cuda::thread_index() < x_.count)
          row(i + cuda::thread_index(), unit.chunk, sum);
      }
      if (columns) give_columns(unit, column);
    }
    cuda::copy_async_wait<0>();
  }

 private:
  __device__ void meet() const { cuda::sync_group(1 + group_, kGroup); }
  __device__ bool own_row() const { return cuda::thread_index() < kProductRows; }

  template <class G, class W>
  __device__ void load_rows(int row, G&& guess, W&& weight) {
    constexpr int kLines = kProductThreads / 8;  // copied at once, 8 chunks each
    const int chunk = cuda::thread_index() % 8;
    for (int line = cuda::thread_index() / 8; line < kProductRows; line += kLines) {
      const Float16* from = x_.at + int64_t{row + line} * x_.stride + chunk * 8;
      unsigned char* to = rows_ + RowTiles::Memory::offset(line, chunk);
      for (int step = 0; step < steps_; ++step)
        cuda::copy_async16(to + step * kRowBytes, from + step * kStepHalves, row + line < x_.count);
    }
    cuda::copy_async_commit();
    if (own_row()) {
      const int r = cuda::thread_index();
      const bool real = row + r < x_.count;
      cuda::store(memory_.guess + r, real ? guess(row + r) : 0.0f);
      if constexpr (kBoth) cuda::store(memory_.own_weight + r, real ? weight(row + r) : 0.0f);
    }
    cuda::copy_async_wait<0>();
    cuda::sync_threads();  // the rows are there
    loaded_ = row;
  }
  // Starts the copies of the group's next step.
  __device__ void copy(int stage) {
    if (!next_.done()) {
      const int line = own_ / 8, chunk = own_ % 8;
      const Float16* from =
          y_.at + int64_t{next_.column + line} * y_.stride + next_.step * kStepHalves + chunk * 8;
      unsigned char* to = memory_.column[group_][stage] + ColumnTiles::Memory::offset(line, chunk);
      constexpr int kLines = kGroup / 8;
#pragma unroll
      for (int i = 0; i < kProductColumns; i += kLines)
        cuda::copy_async16(to + i * 128, from + i * y_.stride, next_.column + line + i < next_.to);
      next_.next(units_, steps_, group_);
    }
    cuda::copy_async_commit();  // empty groups keep the count of groups in step
  }

  // 128 rows by the unit's columns.
  __device__ void sweep(const ProductUnits::Unit& unit, bool columns, bool first) {
    constexpr int kTwo = kGroups * kProductColumns;
    TileProduct product;
#pragma unroll
    for (int r = 0; r < TileProduct::kRows; ++r) sum_[r] = 0;
    int turn = 0;
    const int begin = unit.from + group_ * kProductColumns;
    for (int j = begin; j < unit.to; j += kTwo, turn ^= 1) {
      if (own_ < kProductColumns)
        cuda::store(&memory_.weight[group_][turn][own_],
                    j + own_ < unit.to ? cuda::load(other_ + j + own_) : kNothing<float>);
      product.clear();
      for (int step = 0; step < steps_; ++step) {
        cuda::copy_async_wait<kAhead - 1>();
        // The group's copies of this step and its weights are there; the stage that is copied to
        // next has been read; the columns' sums of the tile before are there.
        meet();
        copy(stage_ == 0 ? kStages - 1 : stage_ - 1);
        product.add(rows_ + step * kRowBytes, memory_.column[group_][stage_], split_);
        stage_ = stage_ + 1 == kStages ? 0 : stage_ + 1;
        if (kBoth && columns && step == 0 && j > begin)
          add_columns(j - kTwo - unit.from, turn ^ 1, first);
      }
      fold(product, turn, columns);
    }
    if (kBoth && columns && begin < unit.to) {
      meet();  // the columns' sums of the last tile are there
      const int last = begin + (unit.to - 1 - begin) / kTwo * kTwo;
      add_columns(last - unit.from, turn ^ 1, first);
    }
  }

  __device__ void fold(const TileProduct& product, int turn, bool columns) {
    const float* weight = memory_.weight[group_][turn];
    cuda::Pack<float, 2> w[TileProduct::kPairs];
    float total[2 * TileProduct::kPairs];
#pragma unroll
    for (int c = 0; c < TileProduct::kPairs; ++c) {
      w[c] = cuda::load(
          reinterpret_cast<const cuda::Pack<float, 2>*>(weight + TileProduct::column(c)));
      total[2 * c] = total[2 * c + 1] = 0;
    }
#pragma unroll
    for (int r = 0; r < TileProduct::kRows; ++r) {
      const float own = cuda::load(memory_.guess + TileProduct::row(r));
      float a = 0, part = 0;
      if constexpr (kBoth) a = cuda::load(memory_.own_weight + TileProduct::row(r));
#pragma unroll
      for (int c = 0; c < TileProduct::kPairs; ++c) {
        float e[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          e[i] = cuda::exp2_fast(scale_ * product.at(r, c, i) + (w[c].at[i] + own));
          if constexpr (kBoth) total[2 * c + i] += a * e[i];
        }
        part += e[0] + e[1];
      }
      sum_[r] += part;
    }
    if (kBoth && columns) put_columns(total, turn);
  }

  // Columns' sums over a warp's rows: each lane comes to have an eighth of them.
  __device__ void put_columns(float (&total)[2 * TileProduct::kPairs], int turn) {
    const int lane = cuda::lane_index();
    int first = 0;
#pragma unroll
    for (int mask = 16, half = TileProduct::kPairs; mask >= 4; mask /= 2, half /= 2) {
      const bool high = (lane & mask) != 0;
#pragma unroll
      for (int i = 0; i < half; ++i) {
        const float kept = high ? total[i + half] : total[i];
        total[i] = kept + cuda::shuffle_xor(high ? total[i] : total[i + half], mask);
      }
      first += high ? half : 0;
    }
#pragma unroll
    for (int i = 0; i < TileProduct::kPairs / 4; ++i) {
      const int at = first + i;
      cuda::store(&memory_.tile_sum[group_][turn][TileProduct::warp()]
                                   [TileProduct::column(at / 2) + at % 2],
                  total[i]);
    }
  }
  // Those of a tile, `at` columns from the unit's first, to the unit's.
  __device__ void add_columns(int at, int turn, bool first) {
    if (own_ >= kProductColumns) return;
    float total = 0;
#pragma unroll
    for (int s = 0; s < kGroupWarps; ++s)
      total += cuda::load(&memory_.tile_sum[group_][turn][s][own_]);
    float* to = memory_.column_sum + at + own_;
    cuda::store(to, first ? total : cuda::load(to) + total);
  }
  template <class C>
  __device__ void give_columns(const ProductUnits::Unit& unit, C&& column) {
    const int width = unit.to - unit.from;
    for (int j = cuda::thread_index(); j < width; j += kProductThreads)
      column(unit.from + j, unit.band, cuda::load(memory_.column_sum + j));
    cuda::sync_threads();  // they have been read
  }

  // The sum of this thread's row; all threads are done with the rows.
  __device__ double finish() {
    turn_ ^= 1;
#pragma unroll
    for (int r = 0; r < TileProduct::kRows; ++r) {
      double sum = sum_[r];  // of at most a few dozen tiles: what is added here needs more digits
      sum += cuda::shuffle_xor(sum, 1);
      sum += cuda::shuffle_xor(sum, 2);
      if (cuda::lane_index() % 4 == 0)
        cuda::store(&memory_.sum[turn_][group_][TileProduct::row(r)], sum);
    }
    cuda::sync_threads();  // all warps' sums are there, and the columns'
    double total = 0;
    if (!own_row()) return total;
#pragma unroll
    for (int s = 0; s < kGroups; ++s)
      total += cuda::load(&memory_.sum[turn_][s][cuda::thread_index()]);
    return total;
  }

  const Halves x_, y_;
  const ProductUnits units_;
  const float scale_;
  const bool split_;
  const float* other_;
  ProductMemory& memory_;
  unsigned char* rows_;
  const int steps_, group_, own_;
  float sum_[TileProduct::kRows];
  ProductCursor next_;
  int loaded_ = -1, stage_ = 0, turn_ = 0;
};

}  // namespace surprisal::sinkhorn
