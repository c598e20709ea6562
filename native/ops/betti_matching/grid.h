// One image as a padded array of integers, and the cells of its V-construction. Voxels are
// vertices; a k-cell is a corner and k axes, its value the largest of its vertices. A position is a
// linear index into the padded array; the border holds kOutside, later than every voxel, so that no
// step from a voxel needs a test. Axes of length 1 are left out before (one axis becomes two).
//   edge: 4 position + axis;  3-D square: 4 position + normal axis;  2-D square, cube: position
// Cells of one dimension are ordered by (value, number), which is the reference's order.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/check.h"

namespace surprisal::betti_matching {

constexpr int32_t kOutside = std::numeric_limits<int32_t>::max();
// Bytes that vectors may read and write past the end of an array.
constexpr int64_t kSlack = 64;

struct Grid {
  int rank = 2;                 // 2 or 3
  int32_t n[3] = {1, 1, 1};     // voxels along each axis
  int32_t step[3] = {1, 1, 1};  // positions from a voxel to its neighbour along each axis
  int64_t size = 0;             // positions, border included

  int32_t at(int32_t x, int32_t y) const { return (x + 1) * step[0] + y + 1; }
  int32_t at(int32_t x, int32_t y, int32_t z) const {
    return (x + 1) * step[0] + (y + 1) * step[1] + z + 1;
  }
  int64_t voxels() const { return int64_t{n[0]} * n[1] * (rank == 3 ? n[2] : 1); }
  // From the first dual cell that an edge (2-D) or square (3-D) joins to the second.
  int32_t dual_step(int type) const { return rank == 3 ? step[type] : step[1 - type]; }
};

// For axes that are all longer than 1, or at most two axes.
inline Grid grid_of(const int64_t* n, int rank) {
  Grid g;
  g.rank = rank == 3 ? 3 : 2;
  // One axis is the last of two.
  for (int i = 0; i < rank; ++i) g.n[rank == 1 ? 1 : i] = static_cast<int32_t>(n[i]);
  if (g.rank == 3) {
    g.step[2] = 1;
    g.step[1] = g.n[2] + 2;
    g.step[0] = g.step[1] * (g.n[1] + 2);
    g.size = int64_t{g.step[0]} * (g.n[0] + 2);
  } else {
    g.step[1] = 1;
    g.step[0] = g.n[1] + 2;
    g.size = int64_t{g.step[0]} * (g.n[0] + 2);
  }
  return g;
}

// Values of cells, from the keys of voxels.
struct Cells {
  const Grid& g;
  const int32_t* key;

  int32_t edge(int32_t v, int axis) const { return std::max(key[v], key[v + g.step[axis]]); }
  int32_t square(int32_t v, int a, int b) const {
    return std::max(edge(v, a), edge(v + g.step[b], a));
  }
  int32_t square(int32_t v, int normal) const {
    return square(v, normal == 0 ? 1 : 0, normal == 2 ? 1 : 2);
  }
  // A cell of the highest dimension: a node of the dual graph.
  int32_t top(int32_t v) const {
    const int32_t near = square(v, 0, 1);
    return g.rank == 2 ? near : std::max(near, square(v + 1, 0, 1));
  }
  // An edge of the dual graph: an edge (2-D) or square (3-D).
  int32_t face(uint32_t cell) const {
    const int32_t v = static_cast<int32_t>(cell >> 2);
    const int type = cell & 3;
    return g.rank == 2 ? edge(v, type) : square(v, type);
  }

  // The vertex that a cell takes its value from: among equal ones the far end of an edge, the
  // farthest corner of a square, the nearest of a cube (the reference's choice).
  int32_t voxel_of_edge(uint32_t cell) const {
    const int32_t near = static_cast<int32_t>(cell >> 2);
    const int32_t far = near + g.step[cell & 3];
    return key[far] >= key[near] ? far : near;
  }
  int32_t voxel_of_square(int32_t v, int a, int b) const {
    // Which one it is nobody can predict.
    const int32_t value = square(v, a, b), far = v + g.step[a], side = v + g.step[b];
    const int32_t near = key[side] == value ? side : v;
    const int32_t most = key[far] == value ? far : near;
    return key[far + g.step[b]] == value ? far + g.step[b] : most;
  }
  int32_t voxel_of_square(uint32_t cell) const {
    const int normal = cell & 3;
    return voxel_of_square(static_cast<int32_t>(cell >> 2), normal == 0 ? 1 : 0,
                           normal == 2 ? 1 : 2);
  }
  int32_t voxel_of_top(int32_t v) const {
    if (g.rank == 2) return voxel_of_square(v, 0, 1);
    const int32_t value = top(v);
    for (int corner = 0; corner < 7; ++corner) {
      const int32_t u =
          v + (corner >> 2 & 1) * g.step[0] + (corner >> 1 & 1) * g.step[1] + (corner & 1);
      if (key[u] == value) return u;
    }
    return v + g.step[0] + g.step[1] + 1;
  }
  int32_t voxel_of_face(uint32_t cell) const {
    return g.rank == 2 ? voxel_of_edge(cell) : voxel_of_square(cell);
  }
};

// (value, number) as one integer.
inline uint64_t ordered(int32_t value, uint32_t number) {
  return uint64_t{static_cast<uint32_t>(value) ^ 0x80000000u} << 32 | number;
}
inline int32_t value_in(uint64_t entry) {
  return static_cast<int32_t>(static_cast<uint32_t>(entry >> 32) ^ 0x80000000u);
}
inline uint32_t number_in(uint64_t entry) { return static_cast<uint32_t>(entry); }

}  // namespace surprisal::betti_matching
