// Degree 1 of 3-D images: reduction of the boundary matrix whose rows are the edges in one image's
// order and whose columns are the squares in another's (the same one for a barcode). Columns that
// are known to be zero (squares that begin a cavity) are left out. An edge and a square are
// apparent if the edge is the square's last face and the square the edge's first coface: a pair
// that is found locally, in mixed orders too (Bauer 2021, section 3.5). Edges that end a component
// are never the last one of a cycle and are left out of all columns.
#pragma once
#include "ops/betti_matching/forest.h"

namespace surprisal::betti_matching {

// A set of small integers that toggles and gives its largest: a tree of words. Upper levels may
// name words that have become empty, which `top` finds out.
class Toggles {
 public:
  explicit Toggles(int64_t size) {
    for (int64_t n = size; levels_ < kLevels; ++levels_) {
      n = (n + 63) / 64;
      level_[levels_].resize(n);
      std::fill(level_[levels_].begin(), level_[levels_].end(), 0);
      if (n == 1) break;
    }
  }

  void toggle(int32_t i) {
    level_[0][i >> 6] ^= uint64_t{1} << (i & 63);
    for (int l = 1; l <= levels_; ++l) {
      i >>= 6;
      level_[l][i >> 6] |= uint64_t{1} << (i & 63);
    }
  }

  // The largest, or -1.
  int32_t top() {
    while (level_[levels_][0]) {
      int32_t i = 0;
      int l = levels_;
      for (; l >= 0; --l) {
        const uint64_t word = level_[l][i];
        if (word == 0) break;
        i = i << 6 | (63 - __builtin_clzll(word));
      }
      if (l < 0) return i;
      level_[l + 1][i >> 6] &= ~(uint64_t{1} << (i & 63));
    }
    return -1;
  }

 private:
  static constexpr int kLevels = 6;
  List<uint64_t> level_[kLevels];
  int levels_ = 0;
};

// One image's side of a reduction: its order of cells and what its sweep has found.
struct Side {
  Cells cells;
  const uint8_t* coface[3];
  const uint8_t* last_edge[3];
  const uint8_t* paired;
};

inline uint32_t cell_of(int32_t v, int type) {
  return static_cast<uint32_t>(v) << 2 | static_cast<uint32_t>(type);
}

// The square that an edge is apparent with, or 0 (which no square is).
inline uint32_t apparent_square(const Side& rows, const Side& columns, uint32_t edge) {
  const int32_t v = static_cast<int32_t>(edge >> 2);
  const int axis = edge & 3, code = columns.coface[axis][v];
  const int other = coface_axis(axis, code), type = 3 - axis - other;
  const int32_t at = is_back(code) ? v - rows.cells.g.step[other] : v;
  return rows.last_edge[type][at] == face_code(axis, code) ? cell_of(at, type) : 0;
}

// The edge that a square is apparent with, or 0.
inline uint32_t apparent_edge(const Side& rows, const Side& columns, uint32_t square) {
  const int32_t v = static_cast<int32_t>(square >> 2);
  const int type = square & 3, face = rows.last_edge[type][v];
  const int axis = face_axis(type, face), step = face_step(type, face);
  const int32_t at = step < 0 ? v : v + rows.cells.g.step[step];
  return columns.coface[axis][at] == code_of_face(type, face) ? cell_of(at, axis) : 0;
}

class Reduction {
 public:
  Reduction(const Side& rows, const Side& columns);

  // Pairs each of the squares, sorted by the columns' order, that is not apparent with an edge;
  // calls found(edge, square).
  template <class F>
  void run(const List<uint64_t>& squares, F&& found);

  // Edges of the column that was found last, without those that end a component.
  void last_column(List<uint32_t>& out) const;

 private:
  int32_t& rank(uint32_t edge) { return ranks_[edge & 3][edge >> 2]; }
  void faces_of(uint32_t square, int32_t (&faces)[4]) const;
  void toggle_faces(uint32_t square);
  void store(int32_t pivot, uint32_t square, bool is_whole);

  struct Column {
    int64_t begin, end;  // in entries_; none of an unreduced column
    uint32_t square;
  };

  const Side rows_, columns_;
  List<int32_t> ranks_[3];  // of edges in the rows' order, -1 for those that end a component
  List<uint32_t> edges_;    // by rank
  List<int32_t> owner_;     // by rank: column, or -1
  List<Column> stored_;
  List<int32_t> entries_;
  Toggles working_;
};

inline List<uint64_t> rows_in_order(const Side& rows) {
  List<uint64_t> order(2 * rows.cells.g.size);
  const Grid& g = rows.cells.g;
  for (int32_t x = 0; x < g.n[0]; ++x) {
    for (int32_t y = 0; y < g.n[1]; ++y) {
      for (int32_t z = 0; z < g.n[2]; ++z) {
        const int32_t v = g.at(x, y, z), here = rows.cells.key[v];
        for (int axis = 0; axis < 3; ++axis) {
          const int32_t there = rows.cells.key[v + g.step[axis]];
          if (there == kOutside || rows.paired[v] >> (kEventBit + axis) & 1) continue;
          order.push(ordered(std::max(here, there), cell_of(v, axis)));
        }
      }
    }
  }
  sort_by_value(order);
  return order;
}

inline Reduction::Reduction(const Side& rows, const Side& columns)
    : rows_(rows), columns_(columns), working_(3 * rows.cells.g.size) {
  for (List<int32_t>& ranks : ranks_) {
    ranks.resize(rows.cells.g.size);
    std::fill(ranks.begin(), ranks.end(), -1);
  }
  const List<uint64_t> order = rows_in_order(rows);
  edges_.resize(order.size());
  owner_.resize(order.size());
  std::fill(owner_.begin(), owner_.end(), -1);
  for (int64_t i = 0; i < order.size(); ++i) {
    edges_[i] = number_in(order[i]);
    rank(edges_[i]) = static_cast<int32_t>(i);
  }
}

inline void Reduction::faces_of(uint32_t square, int32_t (&faces)[4]) const {
  const int32_t v = static_cast<int32_t>(square >> 2);
  const int type = square & 3, a = other_axis(type, 0), b = other_axis(type, 1);
  const int32_t* step = rows_.cells.g.step;
  faces[0] = ranks_[a][v];
  faces[1] = ranks_[b][v];
  faces[2] = ranks_[a][v + step[b]];
  faces[3] = ranks_[b][v + step[a]];
}

inline void Reduction::toggle_faces(uint32_t square) {
  int32_t faces[4];
  faces_of(square, faces);
  for (const int32_t face : faces)
    if (face >= 0) working_.toggle(face);
}

inline void Reduction::last_column(List<uint32_t>& out) const {
  const Column& column = stored_[stored_.size() - 1];
  for (int64_t i = column.begin; i < column.end; ++i) out.push(edges_[entries_[i]]);
  if (column.begin < column.end) return;
  int32_t faces[4];
  faces_of(column.square, faces);
  for (const int32_t face : faces)
    if (face >= 0) out.push(edges_[face]);
}

// Empties the working column into a new stored one.
inline void Reduction::store(int32_t pivot, uint32_t square, bool is_whole) {
  owner_[pivot] = static_cast<int32_t>(stored_.size());
  Column column{entries_.size(), entries_.size(), square};
  if (is_whole) {
    toggle_faces(square);
  } else {
    for (int32_t i = pivot; i >= 0; i = working_.top()) {
      entries_.push(i);
      working_.toggle(i);
    }
    column.end = entries_.size();
  }
  stored_.push(column);
}

template <class F>
void Reduction::run(const List<uint64_t>& squares, F&& found) {
  for (const uint64_t entry : squares) {
    const uint32_t square = number_in(entry);
    bool is_whole = true;
    toggle_faces(square);
    for (int32_t pivot = working_.top(); pivot >= 0; pivot = working_.top()) {
      const uint32_t apparent = apparent_square(rows_, columns_, edges_[pivot]);
      if (apparent) {
        toggle_faces(apparent);
      } else if (owner_[pivot] < 0) {
        store(pivot, square, is_whole);
        found(edges_[pivot], square);
        break;
      } else {
        const Column& other = stored_[owner_[pivot]];
        if (other.begin == other.end) toggle_faces(other.square);
        for (int64_t i = other.begin; i < other.end; ++i) working_.toggle(entries_[i]);
      }
      is_whole = false;
    }
  }
}

}  // namespace surprisal::betti_matching
