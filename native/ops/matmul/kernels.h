// Blocks of the output are independent units: a unit packs its own parts of A and B (two blocks
// fit the L2 cache together) and walks over k. The cut into units may depend on the thread count,
// because no element's sum depends on it.
#include "cpu/gemm.h"

namespace matmul {

struct Blocking {
  int64_t rows, columns;  // of one unit, multiples of the tile's
  int64_t row_blocks, column_blocks;
};

template <class A>
Blocking block(const ::surprisal::matmul::Matmul& op) {
  constexpr int64_t kTile = kTileCols<A>;
  constexpr double kSmallWork = 1 << 18;  // multiply-adds that are not worth a second thread
  Blocking cut{192, 256, 0, 0};
  const auto count = [&] {
    cut.row_blocks = (op.m + cut.rows - 1) / cut.rows;
    cut.column_blocks = (op.n + cut.columns - 1) / cut.columns;
    return op.batch * cut.row_blocks * cut.column_blocks;
  };
  const double work = double(op.batch) * double(op.m) * double(op.n) * double(op.k);
  const double wanted = std::min(num_threads() * 4.0, work / kSmallWork);
  while (double(count()) < wanted) {
    const int64_t rows = std::min(cut.rows, op.m), columns = std::min(cut.columns, op.n);
    if (rows <= 48 && columns <= 64) break;
    if (rows >= columns) {
      cut.rows = (rows / 2 + kTileRows - 1) / kTileRows * kTileRows;
    } else {
      cut.columns = (columns / 2 + kTile - 1) / kTile * kTile;
    }
  }
  return cut;
}

template <class T>
struct Unit {
  using A = accumulator_t<T>;
  const ::surprisal::matmul::Matmul& op;
  const T *a, *b;  // of this pair
  T* out;
  int64_t row, column, rows, columns;

  void pack_left(int64_t k, int64_t depth, A* to) const {
    if (op.transpose_a) {
      pack_columns<kTileRows>(a + k * op.m + row, op.m, rows, depth, to);
    } else {
      pack_left_rows(a + row * op.k + k, op.k, rows, depth, to);
    }
  }
  void pack_right(int64_t k, int64_t depth, A* to) const {
    if (op.transpose_b) {
      pack_transposed(b + column * op.k + k, op.k, columns, depth, to);
    } else {
      pack_columns<kTileCols<A>>(b + k * op.n + column, op.n, columns, depth, to);
    }
  }

  template <bool by_k, Start start>
  void multiply(int64_t depth, const A* left, const A* right, A* c, int64_t ldc) const {
    for (int64_t j = 0; j < columns; j += kTileCols<A>)
      for (int64_t i = 0; i < rows; i += kTileRows)
        multiply_tile<by_k, start>(depth, left + i * depth, depth, right + j * depth,
                                   c + i * ldc + j, ldc);
  }

  void run(A* left, A* right, A* block) const {
    A* c = block;
    int64_t ldc = (columns + kTileCols<A> - 1) / kTileCols<A> * kTileCols<A>;
    bool direct = false;
    if constexpr (std::is_same_v<T, A>) {
      direct = op.k > 0 && !op.accumulate && rows % kTileRows == 0 && columns % kTileCols<A> == 0;
      if (direct) {
        c = out + row * op.n + column;
        ldc = op.n;
      }
    }
    const int64_t part = depth_part(op.k);
    for (int64_t k = 0; k < op.k; k += part) {
      const int64_t depth = std::min(part, op.k - k);
      pack_left(k, depth, left);
      pack_right(k, depth, right);
      if (op.transpose_a) {
        k == 0 ? multiply<true, Start::zero>(depth, left, right, c, ldc)
               : multiply<true, Start::add>(depth, left, right, c, ldc);
      } else {
        k == 0 ? multiply<false, Start::zero>(depth, left, right, c, ldc)
               : multiply<false, Start::add>(depth, left, right, c, ldc);
      }
    }
    if (!direct) write(c, ldc);
  }

  void write(A* c, int64_t ldc) const {
    for (int64_t i = 0; i < rows; ++i, c += ldc) {
      T* to = out + (row + i) * op.n + column;
      if (op.k == 0) std::fill_n(c, columns, A{0});
      if (op.accumulate) {
        for (int64_t j = 0; j < columns; ++j) {
          if constexpr (std::is_same_v<T, A>) {
            c[j] += to[j];
          } else {
            c[j] += to_float(to[j]);
          }
        }
      }
      narrow(c, columns, to);
    }
  }
};

template <class T>
void forward_as(const ::surprisal::matmul::Matmul& op) {
  using A = accumulator_t<T>;
  const Blocking cut = block<A>(op);
  const int64_t depth = depth_part(op.k);
  const int64_t blocks = cut.row_blocks * cut.column_blocks;
  const int64_t rows = std::min(cut.rows, op.m + kTileRows);
  const int64_t columns = std::min(cut.columns, op.n + kTileCols<A>);
  parallel_for(op.batch * blocks, 1, [&](int64_t begin, int64_t end) {
    Scratch<A> memory(rows * depth + columns * depth + rows * columns);
    A* left = memory.data();
    A* right = left + rows * depth;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t pair = unit / blocks, at = unit % blocks;
      const int64_t row = at / cut.column_blocks * cut.rows;
      const int64_t column = at % cut.column_blocks * cut.columns;
      const int64_t* a_offsets = op.a_offsets.as<int64_t>();
      const int64_t* b_offsets = op.b_offsets.as<int64_t>();
      Unit<T>{op,
              op.a.as<T>() + (a_offsets ? a_offsets[pair] : pair * op.m * op.k),
              op.b.as<T>() + (b_offsets ? b_offsets[pair] : pair * op.k * op.n),
              op.out.as<T>() + pair * op.m * op.n,
              row,
              column,
              std::min(cut.rows, op.m - row),
              std::min(cut.columns, op.n - column)}
          .run(left, right, right + columns * depth);
    }
  });
}

void forward(const ::surprisal::matmul::Matmul& op) {
  visit_float(op.out.dtype, [&](auto tag) { forward_as<typename decltype(tag)::type>(op); });
}

}  // namespace matmul
