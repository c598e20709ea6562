#include "ops/betti_matching/matching.h"

#include <algorithm>
#include <cstring>

namespace surprisal::betti_matching {
namespace {

// What a sweep writes, for one image.
struct Sweep {
  explicit Sweep(const Grid& g)
      : vertex_parent(g.size + kSlack), top_parent(g.size + kSlack), bytes(4 * (g.size + kSlack)) {}

  Scan scan(const Grid& g) const {
    Scan s;
    s.grid = &g;
    s.vertex_parent = vertex_parent.data();
    s.top_parent = top_parent.data();
    uint8_t* plane = bytes.data();
    for (uint8_t** out : {&s.vertex_code, &s.top_code, &s.edge_flags, &s.face_flags}) {
      *out = plane;
      plane += g.size + kSlack;
    }
    return s;
  }

  Scratch<int32_t> vertex_parent, top_parent;
  Scratch<uint8_t> bytes;
};

}  // namespace

Matching::Matching(const Task& task, const Keys& keys, int images)
    : task_(task), inputs_(images), infinite_(keys.infinite) {
  border_ = task.padding == Padding::none ? 0 : 1;
  int64_t n[3];
  int rank = 0;
  for (int axis = 0; axis < task.axes; ++axis) {
    if (task.shape[axis] + 2 * border_ == 1) continue;
    for (int other = 0; other < rank; ++other) stride_[other] *= task.shape[axis];
    stride_[rank] = 1;
    n[rank++] = task.shape[axis] + 2 * border_;
  }
  grid_ = grid_of(n, rank);
  if (rank == 1) std::swap(stride_[0], stride_[1]);
  is_plain_ = rank == 2 && border_ == 0;
  for (int axis = 0; axis < 2; ++axis) per_step_[axis] = 1.0 / grid_.step[axis];
  top_ = rank - 1;
  for (int i = 0; i < images; ++i) {
    const bool own = task.padding == Padding::minmax;
    const int32_t least = least_of(keys.image[i], task.voxels());
    if (own)
      padding_voxel[i] =
          std::find(keys.image[i], keys.image[i] + task.voxels(), least) - keys.image[i];
    check_cancelled();
    fill(i, keys.image[i], own ? least : keys.padding[i]);
    oldest_key_[i] = border_ && !own ? std::min(least, keys.padding[i]) : least;
  }
  if (images == 1) return;
  images_[2].key.resize(grid_.size + kSlack);
  const int32_t *a = images_[0].key.data(), *b = images_[1].key.data();
  int32_t* out = images_[2].key.data();
  combine(a, b, grid_.size, task.intersection, out);
}

void Matching::fill(int i, const int32_t* values, int32_t padding) {
  List<int32_t>& key = images_[i].key;
  key.resize(grid_.size + kSlack);
  const int last = grid_.rank - 1, border = border_;
  const int32_t width = grid_.n[last], rows = last == 2 ? grid_.n[1] : 1;
  const auto close = [&](int64_t begin, int64_t end) {
    std::fill(key.begin() + begin, key.begin() + end, kOutside);
  };
  close(0, grid_.step[0]);
  close(int64_t{grid_.step[0]} * (grid_.n[0] + 1), key.size());
  for (int32_t x = 0; x < grid_.n[0]; ++x) {
    const int64_t plane = int64_t{grid_.step[0]} * (x + 1);
    if (last == 2) {
      close(plane, plane + grid_.step[1]);
      close(plane + grid_.step[0] - grid_.step[1], plane + grid_.step[0]);
    }
    for (int32_t y = 0; y < rows; ++y) {
      int32_t* row = key.data() + (last == 2 ? grid_.at(x, y, 0) : grid_.at(x, 0));
      row[-1] = row[width] = kOutside;
      const bool outside = border && ((grid_.n[0] > 1 && (x == 0 || x + 1 == grid_.n[0])) ||
                                      (last == 2 && (y == 0 || y + 1 == grid_.n[1])));
      if (border) std::fill(row, row + width, padding);
      if (outside) continue;
      std::memcpy(row + border, values, (width - 2 * border) * sizeof(int32_t));
      values += width - 2 * border;
    }
  }
}

int32_t Matching::voxel_of(int32_t position, int32_t x) const {
  int32_t at[3] = {x, position - x * grid_.step[0], 0};
  if (grid_.rank == 3) {
    const int32_t rest = at[1];
    at[1] = static_cast<int32_t>((rest + 0.5) * per_step_[1]);
    at[2] = rest - at[1] * grid_.step[1];
  }
  int64_t index = 0;
  for (int axis = 0; axis < grid_.rank; ++axis) {
    if (grid_.n[axis] == 1) continue;  // the first of two axes where there is one
    const int32_t i = at[axis] - 1 - border_;
    if (border_ && (i < 0 || i >= grid_.n[axis] - 2 * border_)) return -1;
    index += i * stride_[axis];
  }
  return static_cast<int32_t>(index);
}

template <int kDual, int kPrimal>
void Matching::pair_up(int i, const Scan& s, const int32_t* const* dual,
                       const int32_t* const* primal) {
  Image& image = images_[i];
  const Cells cells{grid_, image.key.data()};
  const Graph<true> tops{cells, s.top_parent, s.top_code, s.face_flags, infinite_};
  const Graph<false> vertices{cells, s.vertex_parent, s.vertex_code, s.edge_flags, infinite_};
  // Loops of volumes are found without the edges that end components; their cycles need them.
  const bool is_volume = grid_.rank == 3, has_loops = is_volume && task_.wants(1);
  const bool thin = has_loops && !task_.cycles;
  const bool wants_dual = top_ > 0 && (task_.wants(top_) || has_loops);
  const bool wants_primal = task_.wants(0) || thin;
  const auto join_tops = [&](const List<uint64_t>& along, List<uint64_t>* loops) {
    Forest<true, kDual> forest(tops, dual, along);
    forest.join({image.pairs[top_], loops});
    image.pairs[top_].fit();
  };
  const auto join_vertices = [&](const List<uint64_t>& along, List<uint64_t>* loops) {
    Forest<false, kPrimal> forest(vertices, primal, along);
    uint8_t* paired = thin ? s.paired : nullptr;
    forest.join({image.pairs[0], loops, task_.cycles ? &image.elders : nullptr, paired});
    image.pairs[0].fit();
    image.oldest = forest.oldest(static_cast<int32_t>(vertices.begin()));
  };
  List<uint64_t> critical, rest;
  if (is_volume) {
    if (wants_dual) {
      collect_critical(tops, critical);
      join_tops(critical, has_loops ? &image.critical : nullptr);
      image.critical.fit();
    }
    if (wants_primal) {
      collect_critical(vertices, critical);
      join_vertices(critical, nullptr);
    }
    return;
  }
  // An edge joins vertices or squares. Those that carry nothing are joined first: that costs less.
  collect_critical(vertices, critical);
  const bool both = wants_dual && wants_primal, dual_first = kDual < kPrimal;
  if (wants_dual && (dual_first || !both)) join_tops(critical, both ? &rest : nullptr);
  if (wants_primal) join_vertices(both && dual_first ? rest : critical, both ? &rest : nullptr);
  if (both && !dual_first) join_tops(rest, nullptr);
}

void Matching::image(int i) {
  Image& image = images_[i];
  const Sweep sweep(grid_);
  Scan s = sweep.scan(grid_);
  s.key = image.key.data();
  if (grid_.rank == 3) {
    image.planes.resize(3 * (grid_.size + kSlack));
    uint8_t* plane = image.planes.data();
    for (uint8_t** out : {&s.coface, &s.last_edge, &s.paired}) {
      *out = plane;
      plane += grid_.size + kSlack;
    }
  }
  const int32_t* inputs[2] = {images_[0].key.data(), images_[1].key.data()};
  const int32_t* comparison[1] = {images_[2].key.data()};
  const bool is_comparison = i == 2;
  // The image barcodes: components of one image carry the extrema of another one.
  if (inputs_ == 2) {
    const int32_t** carried = is_comparison == task_.intersection ? s.dual : s.primal;
    carried[0] = is_comparison ? inputs[0] : comparison[0];
    carried[1] = is_comparison ? inputs[1] : nullptr;
  }
  scan(s);
  if (inputs_ == 1) return pair_up<0, 0>(i, s, nullptr, nullptr);
  if (is_comparison) {
    if (task_.intersection) return pair_up<2, 0>(i, s, inputs, nullptr);
    return pair_up<0, 2>(i, s, nullptr, inputs);
  }
  if (task_.intersection) return pair_up<0, 1>(i, s, nullptr, comparison);
  return pair_up<1, 0>(i, s, comparison, nullptr);
}

int Matching::reductions() const {
  if (grid_.rank < 3 || !task_.wants(1)) return 0;
  return inputs_ == 2 ? 5 : 1;
}

// The image barcodes take longest, so they come first.
void Matching::reduction(int i) {
  if (inputs_ == 2 && i < 2) return reduce_image(i);
  reduce_bars(inputs_ == 2 ? i - 2 : 0);
}

Side Matching::side(int i) const {
  const uint8_t* plane = images_[i].planes.data();
  const int64_t size = grid_.size + kSlack;
  return {{grid_, images_[i].key.data()}, plane, plane + size, plane + 2 * size};
}

void Matching::reduce_bars(int i) {
  Image& image = images_[i];
  const Side own = side(i);
  Reduction reduction(own, own);
  reduction.run(image.critical, [&](uint32_t edge, uint32_t square) {
    const int32_t birth = own.cells.edge(static_cast<int32_t>(edge >> 2), edge & 3);
    const int32_t death = own.cells.face(square);
    if (birth == death || death >= infinite_) return;
    image.pairs[1].push({edge, square, {}});
    if (!task_.cycles || i == 2) return;
    reduction.last_column(image.loops);
    image.loop_ends.push(image.loops.size());
  });
  image.pairs[1].fit();
}

// Squares of the column's image that are not apparent with one of the rows.
List<uint64_t> Matching::columns_in_order(int column, const Side& rows, const Side& columns) const {
  List<uint64_t> squares, others;
  const List<uint64_t>& critical = images_[column].critical;
  for (int64_t i = 0; i < critical.size(); ++i) {
    check_cancelled_at(i);
    if (!apparent_edge(rows, columns, number_in(critical[i]))) squares.push(critical[i]);
  }
  const int64_t first = grid_.at(0, 0, 0);
  // What is apparent within the column's image is no birth of a cavity either.
  each_flag(columns.paired, first, grid_.size - first, (1 << kEventBit) - 1,
            [&](int32_t v, int type) {
              const uint32_t square = cell_of(v, type);
              if (!apparent_edge(rows, columns, square))
                others.push(ordered(columns.cells.face(square), square));
            });
  sort_by_value(others);
  List<uint64_t> all(squares.size() + others.size());
  all.resize(squares.size() + others.size());
  std::merge(squares.begin(), squares.end(), others.begin(), others.end(), all.begin());
  return all;
}

// Rows in one image's order, columns in the other's.
void Matching::reduce_image(int i) {
  const int row = task_.intersection ? 2 : i, column = task_.intersection ? i : 2;
  const Side rows = side(row), columns = side(column);
  List<uint64_t>& partners = images_[i].partners;
  Reduction reduction(rows, columns);
  reduction.run(columns_in_order(column, rows, columns), [&](uint32_t edge, uint32_t square) {
    // Within the column's image it ends no loop of a length.
    if (columns.paired[square >> 2] >> (square & 3) & 1) return;
    const uint64_t named = task_.intersection ? edge : square;
    partners.push(named << 32 | (task_.intersection ? square : edge));
  });
  sort_by_value(partners);  // the cells that name, each once
  partners.fit();
}

// Tells each bar of the comparison image which cells its image barcodes pair it with.
void Matching::link_bars() {
  for (int i = 0; i < 2; ++i) {
    const int row = task_.intersection ? 2 : i, column = task_.intersection ? i : 2;
    const Side rows = side(row), columns = side(column);
    const List<uint64_t>& partners = images_[i].partners;
    List<Pair>& bars = images_[2].pairs[1];
    for (int64_t b = 0; b < bars.size(); ++b) {
      check_cancelled_at(b);
      Pair& bar = bars[b];
      const uint32_t cell = task_.intersection ? bar.birth : bar.death;
      bar.link[i] = task_.intersection ? apparent_square(rows, columns, cell)
                                       : apparent_edge(rows, columns, cell);
      if (bar.link[i]) continue;
      const uint64_t* found =
          std::lower_bound(partners.begin(), partners.end(), uint64_t{cell} << 32);
      if (found != partners.end() && *found >> 32 == cell) bar.link[i] = number_in(*found);
    }
  }
}

void Matching::put(List<int32_t>& out, int k, int i, const Pair& pair) const {
  const Cells cells{grid_, images_[i].key.data()};
  if (k == 0) {
    out.push(voxel(static_cast<int32_t>(pair.birth)));
    out.push(voxel(cells.voxel_of_edge(pair.death)));
  } else if (k == top_) {
    out.push(voxel(cells.voxel_of_face(pair.birth)));
    out.push(voxel(cells.voxel_of_top(static_cast<int32_t>(pair.death))));
  } else {
    out.push(voxel(cells.voxel_of_edge(pair.birth)));
    out.push(voxel(cells.voxel_of_square(pair.death)));
  }
}

void Matching::put_alone(int k, int i, int32_t bar) {
  put(degree[k].unmatched[i], k, i, images_[i].pairs[k][bar]);
  if (task_.cycles) degree[k].unmatched_bars[i].push(bar);
}

// Whether the image bar through which a pair of input i meets one of the comparison has a length.
bool Matching::is_positive(int k, int i, const Pair& pair, const Pair& bar) const {
  const Cells own{grid_, images_[i].key.data()}, comparison{grid_, images_[2].key.data()};
  const auto value = [&](const Cells& cells, int degree, uint32_t cell) {
    const int32_t v = static_cast<int32_t>(degree == 1 ? cell >> 2 : cell);
    if (degree == 0) return cells.key[v];
    if (degree == 1) return cells.edge(v, cell & 3);
    return degree > top_ ? cells.top(v) : cells.face(cell);
  };
  if (task_.intersection) return value(comparison, k, bar.birth) < value(own, k + 1, pair.death);
  return value(own, k, pair.birth) < value(comparison, k + 1, bar.death);
}

// Pairs P_0 and P_1 of the inputs match if both meet one pair of the comparison image: where that
// image carries links, at the cells it names, else at the cell they name.
void Matching::join(int k) {
  const bool from_comparison = k == 0 ? !task_.intersection : k < top_ || task_.intersection;
  const List<Pair>& bars = images_[2].pairs[k];
  const bool wide = k > 0 && k < top_;  // cells are edges or squares, four to a position
  List<int32_t> slot((wide ? 4 : 1) * grid_.size);
  slot.resize((wide ? 4 : 1) * grid_.size);
  std::fill(slot.begin(), slot.end(), -1);
  List<int32_t> partner[2];  // of each bar of the comparison image
  List<uint8_t> taken[2];
  const auto key_of_bar = [&](const Pair& bar, int i) {
    if (from_comparison) return bar.link[i];
    return task_.intersection ? bar.birth : bar.death;
  };
  const auto key_of_input = [&](const Pair& pair) {
    if (!from_comparison) return pair.link[0];
    return task_.intersection ? pair.death : pair.birth;
  };
  for (int i = 0; i < 2; ++i) {
    const List<Pair>& pairs = images_[i].pairs[k];
    taken[i].resize(pairs.size());
    std::fill(taken[i].begin(), taken[i].end(), uint8_t{0});
    check_cancelled();
    for (int64_t j = 0; j < pairs.size(); ++j)
      slot[key_of_input(pairs[j])] = static_cast<int32_t>(j);
    check_cancelled();
    for (const Pair& bar : bars) partner[i].push(slot[key_of_bar(bar, i)]);
    check_cancelled();
    for (const Pair& pair : pairs) slot[key_of_input(pair)] = -1;
  }
  for (int64_t b = 0; b < bars.size(); ++b) {
    check_cancelled_at(b);
    if (partner[0][b] < 0 || partner[1][b] < 0) continue;
    const Pair& p0 = images_[0].pairs[k][partner[0][b]];
    const Pair& p1 = images_[1].pairs[k][partner[1][b]];
    if (task_.positive_bars && !(is_positive(k, 0, p0, bars[b]) && is_positive(k, 1, p1, bars[b])))
      continue;
    put(degree[k].matched, k, 0, p0);
    put(degree[k].matched, k, 1, p1);
    taken[0][partner[0][b]] = taken[1][partner[1][b]] = 1;
    for (int i = 0; i < 2 && task_.cycles; ++i) degree[k].matched_bars.push(partner[i][b]);
  }
  for (int i = 0; i < 2; ++i) {
    const List<Pair>& pairs = images_[i].pairs[k];
    for (int64_t j = 0; j < pairs.size(); ++j) {
      check_cancelled_at(j);
      if (!taken[i][j]) put_alone(k, i, static_cast<int32_t>(j));
    }
  }
}

void Matching::finish() {
  if (reductions() == 5) link_bars();
  for (int k = 0; k <= std::max(top_, 0); ++k) {
    if (!task_.wants(k)) continue;
    if (inputs_ == 2) {
      join(k);
    } else {
      const int64_t n = images_[0].pairs[k].size();
      degree[k].unmatched[0].reserve(2 * n + 2);
      for (int64_t j = 0; j < n; ++j) {
        check_cancelled_at(j);
        put_alone(k, 0, static_cast<int32_t>(j));
      }
    }
  }
  if (!task_.essential || !task_.wants(0)) return;
  List<int32_t>& out = inputs_ == 2 ? degree[0].matched : degree[0].unmatched[0];
  for (int i = 0; i < inputs_; ++i) {
    out.push(voxel(images_[i].oldest));
    out.push(-1);
    if (task_.cycles)
      (inputs_ == 2 ? degree[0].matched_bars : degree[0].unmatched_bars[0]).push(-1);
  }
}

void Matching::run() {
  for (int i = 0; i < images(); ++i) image(i);
  for (int i = 0; i < reductions(); ++i) reduction(i);
  finish();
}

}  // namespace surprisal::betti_matching
