// The main loop of matrix products on tensor cores (sm_80 and later): a block multiplies one tile
// of rows of A with one tile of rows of B, both 16-bit floats, and keeps the float32 sums in
// registers, where an epilogue takes them (Accumulators::each).
// An operand lies by k (its rows are contiguous along k) or by mn; either order is copied to shared
// memory as it is, in the background and several steps ahead, and turned by ldmatrix on the way to
// the tensor cores. Rows of shared memory have their 16-byte chunks permuted, so that neither the
// copies nor ldmatrix meet a bank twice (columns of chunks become diagonals).
// Every sum runs over k in order, in steps of 16: its bits depend neither on the tile's shape and
// place nor on other rows. Sizes need no alignment; operands whose rows start at multiples of 16
// bytes are the fast case.
#pragma once
#include "cuda/device.h"

namespace surprisal::cuda::gemm {

enum class Major { k, mn };

// What a kernel knows of one operand: `extent` rows (of A: m, of B: n) of `depth` elements.
template <class T>
struct Operand {
  const T* data;
  int64_t stride;  // elements from one contiguous line to the next
  int64_t extent, depth;
  bool packed;  // lines and `data` start at multiples of 16 bytes and have whole chunks of them
};

constexpr bool is_packed(uint64_t address, int64_t line, int64_t stride) {
  return address % 16 == 0 && line % 8 == 0 && stride % 8 == 0;
}

// M x N sums of a block, K deep steps, of which kStages are in shared memory; warps by rows and
// columns. kBlocks a processor are aimed at.
template <int M, int N, int WarpsM, int WarpsN, int Stages, int Blocks>
struct Tile {
  static constexpr int kM = M, kN = N, kK = 32, kStages = Stages, kBlocks = Blocks;
  static constexpr int kThreads = WarpsM * WarpsN * kWarp;
  static constexpr int kWarpsN = WarpsN;
  static constexpr int kWarpM = M / WarpsM, kWarpN = N / WarpsN;  // of a warp
  static constexpr int kRowTiles = kWarpM / 16, kColumnTiles = kWarpN / 8;
  static constexpr int64_t kShared = int64_t{Stages} * (M + N) * kK * 2;
  static_assert(kWarpM % 16 == 0 && kWarpN % 16 == 0, "a warp multiplies 16 x 16 blocks");
  static_assert(kShared * Blocks <= 99 * 1024 * Blocks && kShared <= 99 * 1024,
                "fits the smallest processor of sm_86 and sm_89");
};
using Large = Tile<128, 128, 2, 4, 4, 1>;
using Small = Tile<64, 64, 2, 2, 4, 4>;

// The sums of one block, spread over its threads as mma.sync leaves them.
template <class Tile>
struct Accumulators {
  float at[Tile::kRowTiles][Tile::kColumnTiles][4];

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < Tile::kRowTiles; ++i)
#pragma unroll
      for (int j = 0; j < Tile::kColumnTiles; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) at[i][j][e] = 0;
  }
  // Calls f(row, column, quad) for this thread's sums, four neighbouring 8 x 8 tiles at a time:
  // quad[j] are the sums at `row` and columns column + 8 j + lane % 4 * 2 and the next. Coordinates
  // are those of the block's tile.
  template <class F>
  __device__ void each(F&& f) const {
    static_assert(Tile::kColumnTiles % 4 == 0, "whole quads");
    const int row = warp_index() / Tile::kWarpsN * Tile::kWarpM + lane_index() / 4;
    const int column = warp_index() % Tile::kWarpsN * Tile::kWarpN;
#pragma unroll
    for (int i = 0; i < Tile::kRowTiles; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int j = 0; j < Tile::kColumnTiles; j += 4) {
          float quad[4][2];
#pragma unroll
          for (int e = 0; e < 8; ++e) quad[e / 2][e % 2] = at[i][j + e / 2][2 * half + e % 2];
          f(row + 16 * i + 8 * half, column + 8 * j, quad);
        }
  }
};

// A (Lines, Width) tile of 16-bit elements in shared memory, Width along the contiguous axis.
template <int Lines, int Width>
struct SharedTile {
  static constexpr int kChunks = Width / 8;  // of 16 bytes, in a line
  static constexpr int kBytes = Lines * Width * 2;
  static_assert(kChunks == 4 || kChunks % 8 == 0, "lines of 64 or of n 128 bytes");

  __device__ static int offset(int line, int chunk) {
    // Eight neighbouring lines hold a chunk in eight different bank groups.
    const int turn = kChunks == 4 ? line / 2 % 4 : line % 8;
    return line * Width * 2 + (chunk ^ turn) * 16;
  }
};

// One operand of a block: copies its steps to shared memory and reads them as fragments.
// Extent is the tile's size along mn.
template <class T, class Tile, int Extent, Major major>
struct Side {
  static constexpr bool kByK = major == Major::k;
  using Memory =
      std::conditional_t<kByK, SharedTile<Extent, Tile::kK>, SharedTile<Tile::kK, Extent>>;
  static constexpr int kLineStep = Tile::kThreads / Memory::kChunks;  // lines copied at once
  static constexpr int kCopies = Memory::kBytes / 16 / Tile::kThreads;
  static_assert(kLineStep % 8 == 0 && kCopies >= 1 && Memory::kBytes % (16 * Tile::kThreads) == 0,
                "each thread copies the same chunk of lines that are turned alike");

  const T* from;  // this thread's first chunk of the next step
  int64_t stride;
  int64_t lines, width;  // left from there: lines below, elements along the line
  int to;                // where it goes in a step's tile
  bool packed;

  // `first` is the tile's place along mn; the sum runs over k in [begin, end).
  __device__ Side(const Operand<T>& p, int64_t first, int64_t begin, int64_t end) {
    const int line = thread_index() / Memory::kChunks, chunk = thread_index() % Memory::kChunks;
    const int64_t at_line = (kByK ? first : begin) + line;
    const int64_t at = (kByK ? begin : first) + chunk * 8;
    from = p.data + at_line * p.stride + at;
    stride = p.stride;
    lines = (kByK ? p.extent : end) - at_line;
    width = (kByK ? end : p.extent) - at;
    to = Memory::offset(line, chunk);
    packed = p.packed;
  }

  // Starts the copies of one step and moves on to the next.
  __device__ void copy(unsigned char* tile) {
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      unsigned char* chunk = tile + to + i * kLineStep * Memory::kChunks * 16;
      const T* source = from + i * kLineStep * stride;
      const bool inside = i * kLineStep < lines && width > 0;
      if (packed) {
        copy_async16(chunk, source, inside);
      } else {
        copy_elements(chunk, source, inside ? width : 0);
      }
    }
    if constexpr (kByK) {
      from += Tile::kK;
      width -= Tile::kK;
    } else {
      from += Tile::kK * stride;
      lines -= Tile::kK;
    }
  }

  // Leaves out what the next step would have begun with.
  __device__ void skip(int64_t depth) {
    if constexpr (kByK) {
      from += depth;
      width -= depth;
    } else {
      from += depth * stride;
      lines -= depth;
    }
  }

  // For rows that do not start at 16 bytes.
  __device__ static void copy_elements(unsigned char* chunk, const T* source, int64_t width) {
    Pack<T, 8> x;
#pragma unroll
    for (int e = 0; e < 8; ++e) x.at[e] = e < width ? load(source + e) : T{0};
    store(reinterpret_cast<Pack<T, 8>*>(chunk), x);
  }

  // The 16 x 16 block at `mn` (of the tile) and k (of the step). Its four 8 x 8 parts arrive in the
  // order of mma's left operand (mn runs first) or of two neighbouring right operands (k first).
  template <bool left>
  __device__ static void read(uint32_t (&block)[4], const unsigned char* tile, int mn, int k) {
    const int part = lane_index() / 8;
    mn += (left ? part % 2 : part / 2) * 8;
    k += (left ? part / 2 : part % 2) * 8;
    if constexpr (kByK) {
      load_tiles(block, tile + Memory::offset(mn + lane_index() % 8, k / 8));
    } else {
      load_tiles_transposed(block, tile + Memory::offset(k + lane_index() % 8, mn / 8));
    }
  }
};

// Which steps a sum takes: all of those up to `depth`, ...
struct EveryStep {
  __device__ int64_t steps(int64_t depth, int step) const { return (depth + step - 1) / step; }
  // Where step i begins, and how much depth lies before it that no step takes.
  __device__ int at(int i, int step) const { return i * step; }
  __device__ int64_t before(int64_t, int) const { return 0; }
};
// ... or those of the blocks of kBlock that a list names, in rising order: how many, then which.
// Without a list all of them.
template <int kBlock>
struct ListedSteps {
  const int32_t* list = nullptr;

  __device__ int64_t steps(int64_t depth, int step) const {
    return list ? int64_t{load(list)} * (kBlock / step) : EveryStep{}.steps(depth, step);
  }
  __device__ int at(int i, int step) const {
    const int in_block = kBlock / step;
    return list ? load(list + 1 + i / in_block) * kBlock + i % in_block * step : i * step;
  }
  __device__ int64_t before(int64_t i, int step) const {
    const int in_block = kBlock / step;
    if (!list || i % in_block != 0) return 0;
    const int32_t* const at = list + 1 + i / in_block;
    return (load(at) - (i == 0 ? 0 : load(at - 1) + 1)) * int64_t{kBlock};
  }
};

// Adds the product of the block's tile, at row `row` of A and `column` of B, over k in [begin, end)
// to `sums`, or those of its steps that `which` says. begin is a multiple of 8. All threads of the
// block take part; shared memory is free again after a barrier.
template <class T, class Tile, Major a_major, Major b_major, class Steps = EveryStep>
__device__ inline void multiply_block(Accumulators<Tile>& sums, const Operand<T>& a,
                                      const Operand<T>& b, int64_t row, int64_t column,
                                      int64_t begin, int64_t end, unsigned char* memory,
                                      const Steps& which = {}) {
  using Left = Side<T, Tile, Tile::kM, a_major>;
  using Right = Side<T, Tile, Tile::kN, b_major>;
  constexpr int kStep = Left::Memory::kBytes + Right::Memory::kBytes;
  static_assert(kStep * Tile::kStages == Tile::kShared, "the tile says what it takes");
  constexpr int kAhead = Tile::kStages - 1;
  Left left(a, row, begin, end);
  Right right(b, column, begin, end);
  const int64_t steps = which.steps(end - begin, Tile::kK);
  const auto copy = [&](int64_t step, int stage) {
    if (step < steps) {
      if (const int64_t skipped = which.before(step, Tile::kK)) {
        left.skip(skipped);
        right.skip(skipped);
      }
      left.copy(memory + stage * kStep);
      right.copy(memory + stage * kStep + Left::Memory::kBytes);
    }
    copy_async_commit();  // empty groups keep the count of groups in step
  };
#pragma unroll
  for (int stage = 0; stage < kAhead; ++stage) copy(stage, stage);
  const int mn_left = warp_index() / Tile::kWarpsN * Tile::kWarpM;
  const int mn_right = warp_index() % Tile::kWarpsN * Tile::kWarpN;
  int stage = 0, next = kAhead;
  for (int64_t step = 0; step < steps; ++step) {
    copy_async_wait<kAhead - 1>();
    sync_threads();  // everybody's copies of this step are there, and `next` is read to its end
    copy(step + kAhead, next);
    const unsigned char* a_tile = memory + stage * kStep;
    const unsigned char* b_tile = a_tile + Left::Memory::kBytes;
#pragma unroll
    for (int k = 0; k < Tile::kK; k += 16) {
      uint32_t x[Tile::kRowTiles][4], y[Tile::kColumnTiles / 2][4];
#pragma unroll
      for (int i = 0; i < Tile::kRowTiles; ++i)
        Left::template read<true>(x[i], a_tile, mn_left + 16 * i, k);
#pragma unroll
      for (int j = 0; j < Tile::kColumnTiles / 2; ++j)
        Right::template read<false>(y[j], b_tile, mn_right + 16 * j, k);
#pragma unroll
      for (int i = 0; i < Tile::kRowTiles; ++i)
#pragma unroll
        for (int j = 0; j < Tile::kColumnTiles; ++j) {
          const uint32_t pair[2] = {y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]};
          multiply_tiles<T>(sums.at[i][j], x[i], pair);
        }
    }
    stage = stage + 1 == Tile::kStages ? 0 : stage + 1;
    next = next + 1 == Tile::kStages ? 0 : next + 1;
  }
  copy_async_wait<0>();  // nothing may land in memory that the caller uses next
}

// The quad's 4 x 4 words, transposed: lane l of it gets word l of every lane, in lane order.
__device__ inline void transpose_quad(uint32_t (&word)[4]) {
  const int lane = lane_index() % 4;
#pragma unroll
  for (int step = 1; step <= 2; ++step) {
    const bool high = (lane & step) != 0;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int low_word = step == 1 ? 2 * i : i, high_word = low_word + step;
      const uint32_t other = shuffle_xor(high ? word[low_word] : word[high_word], step);
      (high ? word[low_word] : word[high_word]) = other;
    }
  }
}

// The order of tiles: bands of kBand rows of tiles, down each column of a band, so that blocks that
// run together share rows of both operands in the second-level cache.
struct TilePlace {
  int64_t row, column;  // in tiles

  SP_HOST_DEVICE TilePlace(int64_t index, int64_t rows, int64_t columns) {
    constexpr int64_t kBand = 8;
    const int64_t band = index / (kBand * columns), in_band = index % (kBand * columns);
    const int64_t height = rows - band * kBand < kBand ? rows - band * kBand : kBand;
    row = band * kBand + in_band % height;
    column = in_band / height;
  }
};

}  // namespace surprisal::cuda::gemm
