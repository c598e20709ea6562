// Degree 1 of 3-D images: reduction of the boundary matrix whose rows are the edges in one image's
// order and whose columns are the squares in another's (the same one for a barcode). Columns that
// are known to be zero (squares that begin a cavity) are left out. An edge and a square are
// apparent if the edge is the square's last face and the square the edge's first coface: a pair
// that is found locally, in mixed orders too (Bauer 2021, section 3.5). Edges that end a component
// are never the last one of a cycle and are left out of all columns.
#pragma once
#include <vector>

#include "ops/betti_matching/forest.h"

namespace surprisal::betti_matching {

// A set of small integers that toggles and gives its largest: a tree of words. Upper levels may
// name words that have become empty, which `top` finds out. 0 may be toggled but counts as nothing.
class Toggles {
 public:
  explicit Toggles(int64_t size) {
    for (int64_t n = size; levels_ < kLevels; ++levels_) {
      n = (n + 63) / 64;
      level_[levels_].resize(n);
      std::fill(level_[levels_].begin(), level_[levels_].end(), 0);
      if (n <= kRoots) break;
    }
  }

  void toggle(int32_t i) {
    level_[0][i >> 6] ^= uint64_t{1} << (i & 63);
    for (int l = 1; l <= levels_; ++l) {
      i >>= 6;
      level_[l][i >> 6] |= uint64_t{1} << (i & 63);
    }
    last_ = std::max(last_, i >> 6);
  }

  // The largest, or 0.
  int32_t top() {
    for (; last_ >= 0; --last_) {
      while (level_[levels_][last_]) {
        int32_t i = last_;
        int l = levels_;
        for (; l >= 0; --l) {
          const uint64_t word = level_[l][i];
          if (word == 0) break;
          i = i << 6 | (63 - __builtin_clzll(word));
        }
        if (l < 0) return i;
        level_[l + 1][i >> 6] &= ~(uint64_t{1} << (i & 63));
      }
    }
    return 0;
  }

 private:
  static constexpr int kLevels = 6, kRoots = 256;  // stepping down some words beats a level more
  List<uint64_t> level_[kLevels];
  int levels_ = 0;
  int32_t last_ = -1;  // no word of the highest level behind it has any
};

// Lists of small integers one after the other, in blocks, so that they grow without being copied.
class Columns {
 public:
  // Where the list that is pushed next begins.
  int32_t end() const {
    if (end_ > std::numeric_limits<int32_t>::max())
      throw Error(Code::out_of_memory, "bettiMatching: loops that take more than 8 GB");
    return static_cast<int32_t>(end_);
  }
  void push(int32_t i) {
    if ((end_ & kMask) == 0) blocks_.emplace_back(kBlock);
    blocks_[end_ >> kBits][end_ & kMask] = i;
    ++end_;
  }
  // The last one of a list is its complement.
  template <class F>
  void each(int64_t begin, F&& f) const {
    for (int64_t at = begin;; at = (at | kMask) + 1) {
      const int32_t* i = blocks_[at >> kBits].data() + (at & kMask);
      const int32_t* const end = blocks_[at >> kBits].data() + kBlock;
      for (; i < end; ++i) {
        if (*i < 0) return f(~*i);
        f(*i);
      }
    }
  }

 private:
  static constexpr int kBits = 14, kBlock = 1 << kBits, kMask = kBlock - 1;
  std::vector<List<int32_t>> blocks_;
  int64_t end_ = 0;
};

// One image's side of a reduction: its order of cells and what its sweep has found.
struct Side {
  Cells cells;
  const uint8_t *coface, *last_edge, *paired;
};

// The square that an edge is apparent with, or 0 (which no square is).
inline uint32_t apparent_square(const Side& rows, const Side& columns, uint32_t edge) {
  const int32_t v = static_cast<int32_t>(edge >> 2);
  const int axis = edge & 3, code = columns.coface[v] >> 2 * axis & 3;
  const int other = coface_axis(axis, code), type = 3 - axis - other;
  const int32_t at = is_back(code) ? v - rows.cells.g.step[other] : v;
  return (rows.last_edge[at] >> 2 * type & 3) == face_code(axis, code) ? cell_of(at, type) : 0;
}

// The edge that a square is apparent with, or 0.
inline uint32_t apparent_edge(const Side& rows, const Side& columns, uint32_t square) {
  const int32_t v = static_cast<int32_t>(square >> 2);
  const int type = square & 3, face = rows.last_edge[v] >> 2 * type & 3;
  const int axis = face_axis(type, face), step = face_step(type, face);
  const int32_t at = step < 0 ? v : v + rows.cells.g.step[step];
  const int code = columns.coface[at] >> 2 * axis & 3;
  return code == code_of_face(type, face) ? cell_of(at, axis) : 0;
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
  // What an edge's row is the last one of: not looked up yet, nothing, the square of this number,
  // or the stored column that begins at the complement.
  static constexpr int32_t kUnknown = 0, kFree = 1;

  int32_t& rank(uint32_t edge) { return ranks_[3 * int64_t{edge >> 2} + (edge & 3)]; }
  int32_t owner_of(int32_t pivot);
  void faces_of(uint32_t square, int32_t (&faces)[4]) const;
  void toggle_faces(uint32_t square);
  int32_t store(int32_t pivot);

  const Side rows_, columns_;
  List<uint32_t> edges_;  // by rank, from 1 on
  List<int32_t> ranks_;   // of edges in the rows' order, 0 for those that end a component
  List<int32_t> owner_;   // by rank
  int32_t last_ = kUnknown;
  Columns stored_;
  Toggles working_;
};

// The numbers of the rows' edges in their order, behind one that is none.
inline List<uint32_t> rows_in_order(const Side& rows) {
  const Grid& g = rows.cells.g;
  List<uint64_t> order(2 * g.size);
  for (int32_t x = 0; x < g.n[0]; ++x) {
    check_cancelled();
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
  List<uint32_t> edges(order.size() + 1);
  edges.push(0);
  for (const uint64_t entry : order) edges.push(number_in(entry));
  return edges;
}

inline Reduction::Reduction(const Side& rows, const Side& columns)
    : rows_(rows), columns_(columns), edges_(rows_in_order(rows)), working_(edges_.size()) {
  ranks_.resize(3 * rows.cells.g.size);
  std::fill(ranks_.begin(), ranks_.end(), 0);
  owner_.resize(edges_.size());
  std::fill(owner_.begin(), owner_.end(), kUnknown);
  for (int64_t i = 1; i < edges_.size(); ++i) {
    check_cancelled_at(i);
    rank(edges_[i]) = static_cast<int32_t>(i);
  }
}

inline void Reduction::faces_of(uint32_t square, int32_t (&faces)[4]) const {
  const int32_t v = static_cast<int32_t>(square >> 2);
  const int type = square & 3, a = other_axis(type, 0), b = other_axis(type, 1);
  const int32_t* step = rows_.cells.g.step;
  const int32_t* near = ranks_.data() + 3 * int64_t{v};
  faces[0] = near[a];
  faces[1] = near[b];
  faces[2] = near[3 * int64_t{step[b]} + a];
  faces[3] = near[3 * int64_t{step[a]} + b];
}

inline void Reduction::toggle_faces(uint32_t square) {
  int32_t faces[4];
  faces_of(square, faces);
  for (const int32_t face : faces) {
    __builtin_prefetch(&owner_[face]);  // one of them may be the next pivot
    working_.toggle(face);
  }
}

inline void Reduction::last_column(List<uint32_t>& out) const {
  if (last_ < 0) return stored_.each(~last_, [&](int32_t i) { out.push(edges_[i]); });
  int32_t faces[4];
  faces_of(static_cast<uint32_t>(last_), faces);
  for (const int32_t face : faces)
    if (face > 0) out.push(edges_[face]);
}

// Empties the working column into a new stored one; what its last row's owner is then.
inline int32_t Reduction::store(int32_t pivot) {
  const int32_t begin = stored_.end();
  for (int32_t i = pivot; i > 0;) {
    working_.toggle(i);
    const int32_t next = working_.top();
    stored_.push(next > 0 ? i : ~i);
    i = next;
  }
  return ~begin;
}

inline int32_t Reduction::owner_of(int32_t pivot) {
  int32_t& owner = owner_[pivot];
  if (owner == kUnknown) {
    const uint32_t apparent = apparent_square(rows_, columns_, edges_[pivot]);
    owner = apparent ? static_cast<int32_t>(apparent) : kFree;
  }
  return owner;
}

template <class F>
void Reduction::run(const List<uint64_t>& squares, F&& found) {
  for (const uint64_t entry : squares) {
    const uint32_t square = number_in(entry);
    bool is_whole = true;
    toggle_faces(square);
    for (int32_t pivot = working_.top(); pivot > 0; pivot = working_.top()) {
      check_cancelled();
      const int32_t owner = owner_of(pivot);
      if (owner == kFree) {
        if (is_whole) toggle_faces(square);
        last_ = owner_[pivot] = is_whole ? static_cast<int32_t>(square) : store(pivot);
        found(edges_[pivot], square);
        break;
      }
      if (owner > 0)
        toggle_faces(static_cast<uint32_t>(owner));
      else
        stored_.each(~owner, [&](int32_t i) { working_.toggle(i); });
      is_whole = false;
    }
  }
}

}  // namespace surprisal::betti_matching
