// The three products. Columns are positions (convolve, convolve_image) or channels with taps
// (convolve_filter); a unit is a block of columns, whose panels are packed part by part of the sum
// and multiplied while they are in the cache.
// Included once per target.
#include "cpu/gemm.h"

namespace convolution {

#include "ops/convolution/patches.h"

using ::surprisal::convolution::Convolution;

constexpr int64_t kColumns = 192, kRows = 192;  // of a block: two of them fit the L2 cache

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// c += left · right, left by rows of `depth`, right in panels.
template <class A>
void multiply_block(int64_t rows, int64_t columns, int64_t depth, const A* left, const A* right,
                    A* c, int64_t ldc) {
  for (int64_t first = 0; first < rows; first += kRows) {
    const int64_t last = std::min(rows, first + kRows);
    for (int64_t j = 0; j < columns; j += kTileCols<A>)
      for (int64_t i = first; i < last; i += kTileRows)
        multiply_tile<false, Start::add>(depth, left + i * depth, depth, right + j * depth,
                                         c + i * ldc + j, ldc);
  }
}

// A sum over channels and taps for each row and position: results and image gradients.
template <class T>
struct Product {
  using A = accumulator_t<T>;
  const Convolution& op;
  Grid grid;
  const T* source;  // (batch, groups, inner, plane)
  T* destination;   // (batch, groups, rows, plane)
  int64_t inner, rows;
  // Filters: the element of row m, channel c and a tap is at m row_step + c inner_step + its place.
  int64_t row_step, inner_step;

  int64_t depth() const { return inner * grid.taps(); }
  int64_t padded_rows() const { return round_up(rows, kTileRows); }

  // (groups, parts, rows, depth of the part)
  void pack_filter(A* to) const {
    const T* filter = op.filter.as<T>();
    const int64_t whole = depth(), part = depth_part(whole), taps = grid.taps();
    const Scratch<int64_t> places(taps);
    for (int64_t tap = 0; tap < taps; ++tap) places[tap] = kernel_place(grid, tap);
    const bool in_order = inner_step == taps;  // all taps: rows lie as they are needed
    parallel_for(op.groups * rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t group = unit / rows, row = unit % rows;
        const T* from = filter + group * (op.filter.size / op.groups) + row * row_step;
        A* own = to + group * padded_rows() * whole;
        int64_t c = 0, tap = 0;
        for (int64_t first = 0; first < whole; first += part) {
          const int64_t deep = std::min(part, whole - first);
          A* out = own + padded_rows() * first + row * deep;
          if (in_order) {
            widen(from + first, deep, out);
            continue;
          }
          for (int64_t k = 0; k < deep; ++k) {
            out[k] = wide(from[c * inner_step + places[tap]]);
            if (++tap < taps) continue;
            tap = 0;
            ++c;
          }
        }
      }
    });
    // The rows beyond the last one.
    for (int64_t group = 0; group < op.groups; ++group)
      for (int64_t first = 0; first < whole; first += part) {
        const int64_t deep = std::min(part, whole - first);
        A* own = to + padded_rows() * (group * whole + first);
        std::fill(own + rows * deep, own + padded_rows() * deep, A{0});
      }
  }

  // Panels of `count` positions, sums [first, first + deep).
  void pack_patches(const T* planes, int64_t position, int64_t count, int64_t first, int64_t deep,
                    A* to) const {
    constexpr int64_t kWidth = kTileCols<A>;
    alignas(64) A line[kColumns + kWidth] = {};
    const int64_t taps = grid.taps();
    for (int64_t k = 0; k < deep; ++k) {
      const int64_t c = (first + k) / taps, tap = (first + k) % taps;
      take_line(grid, planes + c * grid.plane_size, shift_of(grid, tap), position, count, line);
      A* out = to + k * kWidth;
      for (int64_t j = 0; j < count; j += kWidth, out += deep * kWidth)
        std::memcpy(out, line + j, kWidth * sizeof(A));
    }
  }

  void run() const {
    const int64_t whole = depth(), part = depth_part(whole);
    const int64_t positions = grid.positions();
    if (positions == 0) return;
    const Scratch<A> filter(op.groups * padded_rows() * whole);
    pack_filter(filter.data());
    const Scratch<A> bias(op.bias ? op.bias.size : 0);
    if (op.bias) widen(op.bias.as<T>(), op.bias.size, bias.data());
    const int64_t blocks = (positions + kColumns - 1) / kColumns;
    // Even blocks: a narrow last one would cost almost as much as a whole one.
    const int64_t block = round_up((positions + blocks - 1) / blocks, kTileCols<A>);
    // Where there are fewer units than threads, each takes a share of the rows.
    const int64_t units = op.batch * op.groups * blocks;
    int64_t shares = std::max<int64_t>(1, 2 * num_threads() / units);
    shares = std::min(shares, std::max<int64_t>(1, rows / 48));
    const int64_t share = round_up((rows + shares - 1) / shares, kTileRows);
    shares = (rows + share - 1) / share;
    parallel_for(units * shares, 1, [&](int64_t begin, int64_t end) {
      const Scratch<A> memory(block * (part + share));
      A *right = memory.data(), *c = right + block * part;
      for (int64_t at = begin; at < end; ++at) {
        const int64_t row = at % shares * share, plane = at / shares / blocks;
        const int64_t position = at / shares % blocks * block;
        if (position >= positions) continue;
        unit(filter.data(), bias.data(), plane, row, std::min(share, rows - row), position,
             std::min(block, positions - position), right, c);
      }
    });
  }

  // Rows [row, row + height) and positions [position, position + count) of a group of an item.
  void unit(const A* filter, const A* bias, int64_t plane, int64_t row, int64_t height,
            int64_t position, int64_t count, A* right, A* c) const {
    const int64_t whole = depth(), part = depth_part(whole), group = plane % op.groups;
    const int64_t ldc = round_up(count, kTileCols<A>), padded = round_up(height, kTileRows);
    for (int64_t i = 0; i < padded; ++i)
      std::fill_n(c + i * ldc, ldc, bias && i < height ? bias[group * rows + row + i] : A{0});
    const T* planes = source + plane * inner * grid.plane_size;
    for (int64_t first = 0; first < whole; first += part) {
      const int64_t deep = std::min(part, whole - first);
      pack_patches(planes, position, count, first, deep, right);
      const A* left = filter + padded_rows() * (group * whole + first) + row * deep;
      multiply_block(padded, ldc, deep, left, right, c, ldc);
    }
    T* to = destination + (plane * rows + row) * grid.to_plane_size;
    for (int64_t i = 0; i < height; ++i)
      put_line(grid, c + i * ldc, position, count, to + i * grid.to_plane_size);
  }
};

// Elements between neighbours of the filter's kernel along an axis.
inline int64_t kernel_stride(const Convolution& op, int a) {
  return (a < 1 ? op.kernel[1] : 1) * (a < 2 ? op.kernel[2] : 1);
}

inline Grid window_grid(const Convolution& op) {
  Grid grid;
  for (int a = 0; a < 3; ++a)
    grid.axis[a] = {op.size[a],
                    op.result_size[a],
                    op.stride[a],
                    op.kernel[a],
                    -op.padding[a],
                    op.dilation[a],
                    0,
                    kernel_stride(op, a),
                    op.result_size[a],
                    0,
                    1};
  grid.plane_size = op.size.count();
  grid.to_plane_size = op.result_size.count();
  grid.collapse();
  return grid;
}

template <class T>
void convolve_as(const Convolution& op) {
  const int64_t inner = op.channels / op.groups, taps = op.kernel.count();
  Product<T>{op,    window_grid(op),        op.image.as<T>(), op.result.as<T>(),
             inner, op.filters / op.groups, inner * taps,     taps}
      .run();
}

// Pixels i = phase + stride t of an axis, each of which is reached by the same taps: those with
// (i + padding - k dilation) divisible by the stride.
inline Reach phase_reach(const Convolution& op, int a, int64_t phase) {
  const int64_t stride = op.stride[a], dilation = op.dilation[a], at = phase + op.padding[a];
  Reach reach;
  int64_t first = 0, step = 0;  // the taps
  reach.size = op.result_size[a];
  reach.count = std::max<int64_t>(0, (op.size[a] - phase + stride - 1) / stride);
  reach.to_size = op.size[a];
  reach.to_first = phase;
  reach.to_step = stride;
  reach.taps = 0;
  for (int64_t k = 0; k < std::min(op.kernel[a], 2 * stride); ++k) {
    if ((at - k * dilation) % stride != 0) continue;
    if (reach.taps++ == 0) {
      first = k;
      reach.first = (at - k * dilation) / stride;
    } else {
      step = k - first;
      reach.delta = -step * dilation / stride;
      reach.taps = (op.kernel[a] - 1 - first) / step + 1;
      break;
    }
  }
  reach.kernel_first = first * kernel_stride(op, a);
  reach.kernel_step = step * kernel_stride(op, a);
  return reach;
}

template <class T>
void convolve_image_as(const Convolution& op) {
  const int64_t rows = op.channels / op.groups, taps = op.kernel.count();
  for (int64_t z = 0; z < std::min(op.stride[0], op.size[0]); ++z)
    for (int64_t y = 0; y < std::min(op.stride[1], op.size[1]); ++y)
      for (int64_t x = 0; x < std::min(op.stride[2], op.size[2]); ++x) {
        Grid grid;
        grid.axis[0] = phase_reach(op, 0, z);
        grid.axis[1] = phase_reach(op, 1, y);
        grid.axis[2] = phase_reach(op, 2, x);
        grid.plane_size = op.result_size.count();
        grid.to_plane_size = op.size.count();
        grid.collapse();
        Product<T>{op,   grid, op.result.as<T>(), op.image.as<T>(), op.filters / op.groups,
                   rows, taps, rows * taps}
            .run();
      }
}

// The sum over items and positions for each filter (row), channel and tap (column), in pieces of
// one item's positions. Where columns are few, the pieces are dealt to chunks, whose sums are added
// in order; how many is a matter of the shapes.
template <class T>
struct FilterProduct {
  using A = accumulator_t<T>;
  const Convolution& op;
  Grid grid;
  int64_t inner, rows, columns, blocks;
  int64_t positions, part, pieces, chunk, chunks;

  explicit FilterProduct(const Convolution& op) : op(op), grid(window_grid(op)) {
    constexpr int64_t kUnits = 16, kPartialElements = 1 << 22;
    inner = op.channels / op.groups;
    rows = op.filters / op.groups;
    columns = inner * grid.taps();
    blocks = (columns + kColumns - 1) / kColumns;
    positions = grid.positions();
    part = std::max<int64_t>(1, depth_part(positions));
    pieces = positions ? op.batch * ((positions + part - 1) / part) : 0;
    int64_t wanted = (kUnits + op.groups * blocks - 1) / (op.groups * blocks);
    wanted = std::min(wanted, std::max<int64_t>(1, kPartialElements / op.filter.size));
    chunk = std::max<int64_t>(1, (pieces + wanted - 1) / wanted);
    chunks = std::max<int64_t>(1, (pieces + chunk - 1) / chunk);
  }

  // Panels of columns [column, column + count) over positions [position, position + deep).
  void pack_patches(const T* planes, int64_t column, int64_t count, int64_t position, int64_t deep,
                    A* lines, A* to) const {
    constexpr int64_t kWidth = kTileCols<A>;
    const int64_t taps = grid.taps();
    for (int64_t j = 0; j < count; j += kWidth, to += kWidth * deep) {
      const int64_t wide = std::min(kWidth, count - j);
      for (int64_t i = 0; i < wide; ++i) {
        const int64_t c = (column + j + i) / taps, tap = (column + j + i) % taps;
        take_line(grid, planes + c * grid.plane_size, shift_of(grid, tap), position, deep,
                  lines + i * deep);
      }
      pack_transposed(lines, deep, wide, deep, to);
    }
  }

  // Pieces of a chunk for a block of columns of a group, into c (rows, width).
  void unit(int64_t group, int64_t column, int64_t count, int64_t first, int64_t last, A* memory,
            A* c) const {
    const int64_t parts = (positions + part - 1) / part, width = round_up(count, kTileCols<A>);
    const int64_t padded = round_up(rows, kTileRows);
    A *left = memory, *right = left + std::min(padded, kRows) * part;
    A* lines = right + width * part;
    std::fill_n(c, padded * width, A{0});
    for (int64_t piece = first; piece < last; ++piece) {
      const int64_t item = piece / parts, position = piece % parts * part;
      const int64_t deep = std::min(part, positions - position);
      const int64_t plane = item * op.groups + group;
      pack_patches(op.image.as<T>() + plane * inner * grid.plane_size, column, count, position,
                   deep, lines, right);
      for (int64_t row = 0; row < rows; row += kRows) {
        const int64_t height = std::min(kRows, rows - row);
        const T* from = op.result.as<T>() + (plane * rows + row) * positions + position;
        pack_left_rows(from, positions, height, deep, left);
        multiply_block(round_up(height, kTileRows), width, deep, left, right, c + row * width,
                       width);
      }
    }
  }

  void run() const {
    const Scratch<A> partial(chunks * op.filter.size);  // (chunks, filters, columns)
    const int64_t padded = round_up(rows, kTileRows);
    const int64_t widest = round_up(std::min(kColumns, columns), kTileCols<A>);
    parallel_for(chunks * op.groups * blocks, 1, [&](int64_t begin, int64_t end) {
      const int64_t panels = (std::min(padded, kRows) + widest + kTileCols<A>)*part;
      const Scratch<A> memory(panels + padded * widest);
      A* c = memory.data() + panels;
      for (int64_t at = begin; at < end; ++at) {
        const int64_t column = at % blocks * kColumns, group = at / blocks % op.groups;
        const int64_t k = at / blocks / op.groups, count = std::min(kColumns, columns - column);
        unit(group, column, count, k * chunk, std::min(pieces, (k + 1) * chunk), memory.data(), c);
        A* to = partial.data() + k * op.filter.size + group * rows * columns + column;
        for (int64_t row = 0; row < rows; ++row)
          std::copy_n(c + row * round_up(count, kTileCols<A>), count, to + row * columns);
      }
    });
    parallel_for(op.filters, std::max<int64_t>(1, 8192 / (columns * chunks)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t row = begin; row < end; ++row) add_chunks(partial.data(), row);
                 });
  }

  void add_chunks(A* partial, int64_t row) const {
    A* sum = partial + row * columns;
    for (int64_t k = 1; k < chunks; ++k)
      for (int64_t i = 0; i < columns; ++i) sum[i] += sum[k * op.filter.size + i];
    narrow(sum, columns, op.filter.as<T>() + row * columns);
  }
};

inline void convolve(const Convolution& op) {
  visit_float(op.filter.dtype, [&](auto tag) { convolve_as<typename decltype(tag)::type>(op); });
}
inline void convolve_image(const Convolution& op) {
  visit_float(op.filter.dtype,
              [&](auto tag) { convolve_image_as<typename decltype(tag)::type>(op); });
}
inline void convolve_filter(const Convolution& op) {
  visit_float(op.filter.dtype,
              [&](auto tag) { FilterProduct<typename decltype(tag)::type>(op).run(); });
}

}  // namespace convolution
