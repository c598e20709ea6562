// What the first sweep over an image finds, without any order but of neighbours: its discrete
// gradient. A vertex hangs on its neighbour across the first edge that does not raise its value, if
// it is the younger end of that edge; a top cell hangs on the one across its last face, if it is
// the older. What hangs dies (is born) at once and needs no sorting; the rest is critical. A
// hanging cell is an event where a second image has its extremum so far there: then that image's
// attribute of the component changes, which pruning must not hide.
#pragma once
#include "ops/betti_matching/cancel.h"
#include "ops/betti_matching/grid.h"

namespace surprisal::betti_matching {

// Codes of vertices: across which edge it hangs. 2-D: -0, -1, +0, +1; 3-D: -0, -1, -2, +0, +1, +2.
// Codes of top cells: across which face. 2-D: +0, +1, -0; 3-D: +0, +1, +2, -2, -1, -0.
constexpr int kCritical = 6, kBorder = 7, kEvent = 8;
constexpr int kVertexSteps2[] = {-1, -2, 1, 2}, kTopSteps2[] = {1, 2, -1};
constexpr int kVertexSteps3[] = {-1, -2, -3, 1, 2, 3}, kTopSteps3[] = {1, 2, 3, -3, -2, -1};

// Bits of flags, by axis of an edge or type of a face.
constexpr int kEventBit = 3, kNodeBit = 6;

struct Scan {
  const Grid* grid = nullptr;
  const int32_t* key = nullptr;                   // the image
  const int32_t* primal[2] = {nullptr, nullptr};  // images whose minima vertices carry
  const int32_t* dual[2] = {nullptr, nullptr};    // images whose maxima top cells carry
  uint8_t* vertex_code = nullptr;
  uint8_t* top_code = nullptr;
  int32_t* vertex_parent = nullptr;  // a position, its own where critical
  int32_t* top_parent = nullptr;     // the same; 0 for what is outside
  uint8_t* edge_flags = nullptr;     // critical edges, events of vertices, critical vertices
  uint8_t* face_flags = nullptr;     // critical faces, events of top cells, critical top cells
  // 3-D, two bits an axis or type: which square is an edge's first coface, which edge a square's
  // last face.
  uint8_t *coface = nullptr, *last_edge = nullptr;
  // 3-D: squares that die with an edge at once (by type), edges that end a vertex at once
  // (kEventBit).
  uint8_t* paired = nullptr;
};

// The two axes that are not `axis`, in order.
constexpr int other_axis(int axis, int i) {
  return i == 0 ? (axis == 0 ? 1 : 0) : axis == 2 ? 1 : 2;
}

// The cofaces of an edge along `axis` in index order: squares with the axis `other`, one step back
// along it or at the edge's own corner.
constexpr int coface_axis(int axis, int code) {
  return other_axis(axis, code == 0 || code == 3 ? 0 : 1);
}
constexpr bool is_back(int code) { return code < 2; }
// An edge's place among the faces of its coface that spans the axes a < b at c: (c, a), (c, b),
// (c + b, a), (c + a, b), in index order.
constexpr int face_code(int axis, int code) {
  return (axis < coface_axis(axis, code) ? 0 : 1) + (is_back(code) ? 2 : 0);
}
// The inverse: of face `face` (1 to 3; 0 is never the last) of a square, its axis and the code of
// the square among its cofaces.
constexpr int face_axis(int type, int face) { return other_axis(type, face == 2 ? 0 : 1); }
constexpr int face_step(int type, int face) {
  return face == 1 ? -1 : other_axis(type, face == 2 ? 1 : 0);
}
constexpr int code_of_face(int type, int face) {
  const int axis = face_axis(type, face), other = other_axis(type, face == 2 ? 1 : 0);
  const bool is_first = other == other_axis(axis, 0);
  return face == 1 ? (is_first ? 3 : 2) : (is_first ? 0 : 1);
}

void scan(const Scan& s);
// The keys (keys.h) of n values.
void keys_of(const float* values, int64_t n, bool superlevel, int32_t* keys);
// Of n keys, at least one.
int32_t least_of(const int32_t* keys, int64_t n);
// The smaller of each two keys, or the larger.
void combine(const int32_t* a, const int32_t* b, int64_t n, bool larger, int32_t* out);
// The number of the root that a node hangs on; the nodes on the way come to hang nearer to it.
inline int32_t root_of(int32_t* parent, int32_t node) {
  for (;;) {
    const int32_t up = parent[node];
    if (up < 0) return ~up;
    const int32_t next = parent[up];
    if (next < 0) return ~next;
    parent[node] = next;
    node = next;
  }
}
// Puts in each node's place the number of the root that it hangs on; long ways become shorter.
void roots_of(int32_t* parent, int64_t n, int32_t* nodes);
// Puts the parent of every node's parent in that one's place; what is negative stays.
void shorten(const Grid& g, int32_t* parent);

}  // namespace surprisal::betti_matching
