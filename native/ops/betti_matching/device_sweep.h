// The discrete gradient of each image, a thread a position, and what it leaves to be sorted: scan.h
// says what hangs on what. Every chain of hanging cells is followed at once, for up to kFollowed
// cells: its nodes are put where the chain leads, and events that an older attribute on the way
// hides are dropped, so that the walk meets few of either.
#pragma once
#include "ops/betti_matching/device_crop.h"

namespace surprisal::betti_matching {

// How a vertex hangs: up, left, down, right; a square: down, right, up. As scan.h has it.
constexpr int kCriticalCell = 6, kNoCell = 7;
constexpr int kFollowed = 64;
constexpr int kEventMark = 0x8000;

__device__ inline int vertex_code(const uint16_t* key, int v, int up) {
  const int own = load(key + v);
  if (load(key + v - up) <= own) return 0;
  if (load(key + v - 1) <= own) return 1;
  const int down = load(key + v + up);
  if (down <= own) return down < own ? 2 : kCriticalCell;
  return load(key + v + 1) < own ? 3 : kCriticalCell;
}
__device__ inline int vertex_step(int code, int up) {
  return code == 0 ? -up : code == 1 ? -1 : code == 2 ? up : code == 3 ? 1 : 0;
}

__device__ inline int square_code(const uint16_t* key, int v, int up) {
  const int k00 = load(key + v), k01 = load(key + v + 1);
  const int lower = larger(load(key + v + up), load(key + v + up + 1));
  if (lower >= larger(k00, k01)) return 0;
  if (k01 >= k00) return 1;
  return larger(load(key + v - up), load(key + v - up + 1)) > k00 ? 2 : kCriticalCell;
}
__device__ inline int square_step(int code, int up) {
  return code == 0 ? up : code == 1 ? 1 : code == 2 ? -up : 0;
}

// Calls f(image, position) for all of them, a thread each.
template <class F>
__device__ inline void each_position(const Block& b, F&& f) {
  const int all = 3 * b.positions();
  for (int p = thread_index(); p < all; p += block_size()) f(p / b.positions(), p % b.positions());
}

// Parents in this pass's graph, and codes of both. Squares outside are one node, at position 0.
template <bool kDual>
__device__ inline void hang(const Block& b) {
  const Crop& crop = b.crop();
  const int up = b.up();
  each_position(b, [&](int i, int p) {
    const int x = p / up - 1, y = p % up - 1;
    const uint16_t* key = b.key(i);
    int vertex = kNoCell, square = kNoCell;
    if (x >= 0 && y >= 0 && x < crop.n[0] && y < crop.n[1]) {
      vertex = vertex_code(key, p, up);
      if (x + 1 < crop.n[0] && y + 1 < crop.n[1]) square = square_code(key, p, up);
    }
    int parent = p;
    if (kDual)
      parent = square == kNoCell ? 0 : p + square_step(square, up);
    else
      parent += vertex_step(vertex, up);
    store(b.parent(i) + p, static_cast<uint16_t>(parent));
    store(b.code(i) + p, static_cast<uint8_t>(vertex | square << 3));
  });
}

// Where the chain of a node leads, in the front of the image's list, marked if the node is an
// event: if no node before it there has an older attribute.
template <bool kDual>
__device__ inline void follow(const Block& b) {
  const int up = b.up();
  each_position(b, [&](int i, int p) {
    const uint16_t* parent = b.parent(i);
    const int attributes = b.carried(i, kDual);
    uint32_t own[2] = {0, 0};
    bool is_event[2] = {false, false};
    int at = load(parent + p);
    const bool hangs = at != p && !(kDual && load(b.code(i) + p) >> 3 == kNoCell);
#pragma unroll
    for (int a = 0; a < 2; ++a) {
      if (a >= attributes || !hangs) continue;
      own[a] = age<kDual>(b.key(b.carried_from(i, a)), p, up);
      is_event[a] = true;
    }
    for (int step = 0; step < kFollowed; ++step) {
#pragma unroll
      for (int a = 0; a < 2; ++a) {
        if (!is_event[a]) continue;
        is_event[a] = !older<kDual>(age<kDual>(b.key(b.carried_from(i, a)), at, up), own[a]);
      }
      const int next = load(parent + at);
      if (next == at) break;
      at = next;
    }
    const int mark = is_event[0] || is_event[1] ? kEventMark : 0;
    store(reinterpret_cast<uint16_t*>(b.list(i)) + p, static_cast<uint16_t>(at | mark));
  });
}

// --- lists ---------------------------------------------------------------------------------------

// An entry: value, edge, which end hangs, whether it is an event; in the order of (value, edge).
__device__ inline uint32_t entry_of(int value, int edge, int end, bool is_event) {
  return static_cast<uint32_t>(value) << 16 | static_cast<uint32_t>(edge) << 2 |
         static_cast<uint32_t>(end) << 1 | (is_event ? 1u : 0u);
}
__device__ inline int edge_of(uint32_t entry) { return static_cast<int>(entry >> 2 & 0x3fff); }
__device__ inline int value_of_entry(uint32_t entry) { return static_cast<int>(entry >> 16); }

__device__ inline void append(const Block& b, int i, uint32_t entry) {
  store(b.list(i) + atomic_add(&b.head().count[i], 1u), entry);
}

// Whether the edge of this axis exists and no cell hangs by it.
__device__ inline bool is_critical_edge(const Block& b, int i, int p, int axis) {
  const uint8_t* code = b.code(i);
  const int up = b.up(), here = load(code + p);
  if ((here & 7) == kNoCell) return false;
  const int other = load(code + p + (axis ? 1 : up));
  if ((other & 7) == kNoCell || (here & 7) == (axis ? 3 : 2) || (other & 7) == (axis ? 1 : 0))
    return false;
  if (axis == 0) return load(code + p - 1) >> 3 != 1;
  return here >> 3 != 2 && load(code + p - up) >> 3 != 0;
}

// The edge by which a node hangs, and which of the edge's ends it is.
template <bool kDual>
__device__ inline uint32_t event_entry(const Block& b, int i, int p) {
  const int up = b.up(), code = load(b.code(i) + p);
  int edge, end;
  if (kDual) {
    const int way = code >> 3;
    edge = way == 0 ? 2 * (p + up) + 1 : way == 1 ? 2 * (p + 1) : 2 * p + 1;
    end = way == 2;
  } else {
    const int way = code & 7;
    edge = way == 0 ? 2 * (p - up) : way == 1 ? 2 * (p - 1) + 1 : way == 2 ? 2 * p : 2 * p + 1;
    end = way < 2;
  }
  return entry_of(edge_value(b.key(i), edge, up), edge, end, true);
}

// What the walk is going to meet: critical edges, or those that the dual pass left, and events.
template <bool kDual>
__device__ inline void collect(const Block& b, bool has_tree) {
  const int up = b.up();
  each_position(b, [&](int i, int p) {
    const int parent = load(b.parent(i) + p);
    if (parent & kEventMark) {
      store(b.parent(i) + p, static_cast<uint16_t>(parent & ~kEventMark));
      append(b, i, event_entry<kDual>(b, i, p));
    }
    for (int a = 0; a < b.carried(i, kDual); ++a)
      store(b.attribute(b.carried_at(i, a)) + p, static_cast<uint16_t>(p));
    if (has_tree) return;
    for (int axis = 0; axis < 2; ++axis) {
      if (!is_critical_edge(b, i, p, axis)) continue;
      const int edge = 2 * p + axis;
      append(b, i, entry_of(edge_value(b.key(i), edge, up), edge, 0, false));
    }
  });
  for (int i = 0; i < 3 && has_tree; ++i) {
    const int n = static_cast<int>(load(&b.head().tree[i]));
    for (int q = thread_index(); q < n; q += block_size()) {
      const int edge = load(b.tree(i) + n - 1 - q);  // the dual pass descends
      store(b.list(i) + q, entry_of(edge_value(b.key(i), edge, up), edge, 0, false));
    }
  }
}

// Everything before the walk.
template <bool kDual>
__device__ inline void prepare(const Block& b, bool has_tree) {
  hang<kDual>(b);
  sync_threads();  // chains go through other threads' nodes
  follow<kDual>(b);
  if (thread_index() < 3) {
    const int i = thread_index();
    store(&b.head().count[i], has_tree ? load(&b.head().tree[i]) : 0u);
    store(&b.head().pairs[kDual][i], 0u);
  }
  sync_threads();  // every chain has been followed before its nodes move
  each_position(b, [&](int i, int p) {
    store(b.parent(i) + p, load(reinterpret_cast<const uint16_t*>(b.list(i)) + p));
  });
  sync_threads();  // the lists are free
  collect<kDual>(b, has_tree);
  sync_threads();  // the lists are complete, the codes not needed any more
  for (int p = thread_index(); p < 2 * b.positions(); p += block_size())
    store(b.slot(0) + p, static_cast<uint16_t>(kNone));
  // Edges of the tree that no events are among are in order.
  sort_lists(b.lists, b.task.layout.capacity, 3, [&](int i) {
    return has_tree && b.carried(i, kDual) == 0 ? 0 : static_cast<int>(load(&b.head().count[i]));
  });
  sync_threads();  // where nothing was sorted the slots are still to be seen
}

}  // namespace surprisal::betti_matching
