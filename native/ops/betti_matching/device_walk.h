// Union-find over the sorted edges, one lane an image: a merge depends on all before it. A root is
// the oldest node of its component; its attributes are in arrays by root (forest.h has the
// reasons). Pairs replace the entries that have been met: of degree 0 from the front of the list,
// of the dual graph from the back, so that both are there in the order of the CPU's lists.
#pragma once
#include "ops/betti_matching/device_sweep.h"

namespace surprisal::betti_matching {

// A pair: its edge, the node that dies with it, whether it is matched.
constexpr uint32_t kMatched = uint32_t{1} << 31;
__device__ inline uint32_t pair_of(int edge, int dead) {
  return static_cast<uint32_t>(edge) << 13 | static_cast<uint32_t>(dead);
}
__device__ inline int dead_of(uint32_t pair) { return static_cast<int>(pair & 0x1fff); }
__device__ inline int edge_of_pair(uint32_t pair) { return static_cast<int>(pair >> 13 & 0x3fff); }

template <bool kDual>
__device__ inline uint32_t* pair_place(const Block& b, int i, int q) {
  return b.list(i) + (kDual ? b.task.layout.capacity - 1 - q : q);
}

// From its birth to its death, in the ranks of its image.
template <bool kDual>
__device__ inline int birth_value(const Block& b, int i, uint32_t pair) {
  const uint16_t* key = b.key(i);
  return kDual ? edge_value(key, edge_of_pair(pair), b.up()) : load(key + dead_of(pair));
}
template <bool kDual>
__device__ inline int death_value(const Block& b, int i, uint32_t pair) {
  const uint16_t* key = b.key(i);
  return kDual ? square_value(key, dead_of(pair), b.up())
               : edge_value(key, edge_of_pair(pair), b.up());
}

template <bool kDual>
__device__ inline int first_end(int edge, int up) {
  const int v = edge >> 1;
  return kDual ? v - (edge & 1 ? up : 1) : v;
}
template <bool kDual>
__device__ inline int second_end(int edge, int up) {
  const int v = edge >> 1;
  return kDual ? v : v + (edge & 1 ? 1 : up);
}

// The root above `node`, whose parent `above` is; nodes on the way are put two steps up.
__device__ inline int root_of(uint16_t* parent, int node, int above) {
  while (above != node) {
    const int next = load(parent + above);
    if (next != above) store(parent + node, static_cast<uint16_t>(next));
    node = above;
    above = next;
  }
  return above;
}

// One image's walk. The entry after the one at work is read ahead: nothing is written there yet.
template <bool kDual>
class Walk {
 public:
  __device__ Walk(const Block& b, int i)
      : b_(b), image_(i), attributes_(b.carried(i, kDual)), parent_(b.parent(i)) {}

  __device__ void run() {
    const int n = static_cast<int>(load(&b_.head().count[image_]));
    const uint32_t* list = b_.list(image_);
    uint32_t next = n > 0 ? load(list + (kDual ? n - 1 : 0)) : 0;
    for (int q = 0; q < n; ++q) {
      const uint32_t entry = next;
      if (q + 1 < n) next = load(list + (kDual ? n - 2 - q : q + 1));
      meet(entry);
    }
    store(&b_.head().pairs[kDual][image_], static_cast<uint32_t>(pairs_));
    if (kDual) store(&b_.head().tree[image_], static_cast<uint32_t>(tree_));
    if (!kDual && image_ < 2) {
      const int v = b_.up() + 1;
      const int oldest = root_of(parent_, v, load(parent_ + v));
      store(&b_.head().oldest[image_], static_cast<uint32_t>(oldest));
    }
  }

 private:
  __device__ void meet(uint32_t entry) {
    const int up = b_.up(), edge = edge_of(entry);
    const int first = first_end<kDual>(edge, up), second = second_end<kDual>(edge, up);
    if (entry & 1) {
      const int node = entry & 2 ? second : first;
      return join_event(node, root_of(parent_, node, load(parent_ + node)));
    }
    // Both ways at once, where they are short: their loads do not wait for each other.
    const int above[2] = {load(parent_ + first), load(parent_ + second)};
    const int r = root_of(parent_, first, above[0]), s = root_of(parent_, second, above[1]);
    if (r != s) return merge(entry, edge, r, s);
    if (kDual) store(b_.tree(image_) + tree_++, static_cast<uint16_t>(edge));
  }

  __device__ void join_event(int node, int root) {
    for (int a = 0; a < attributes_; ++a) {
      const uint16_t* key = b_.key(b_.carried_from(image_, a));
      uint16_t* attribute = b_.attribute(b_.carried_at(image_, a));
      const uint32_t old = age<kDual>(key, load(attribute + root), b_.up());
      if (older<kDual>(age<kDual>(key, node, b_.up()), old))
        store(attribute + root, static_cast<uint16_t>(node));
    }
  }

  __device__ void merge(uint32_t entry, int edge, int r, int s) {
    const int up = b_.up();
    const uint16_t* key = b_.key(image_);
    const uint32_t age_r = age<kDual>(key, r, up), age_s = age<kDual>(key, s, up);
    const bool first_lives = older<kDual>(age_r, age_s);
    const int living = first_lives ? r : s, dying = first_lives ? s : r;
    const int dead_value = static_cast<int>((first_lives ? age_s : age_r) >> 13);
    const int value = value_of_entry(entry), death = kDual ? dead_value : value;
    const bool is_pair = value != dead_value && death < b_.infinite;
    for (int a = 0; a < attributes_; ++a) {
      const uint16_t* carried = b_.key(b_.carried_from(image_, a));
      uint16_t* attribute = b_.attribute(b_.carried_at(image_, a));
      const int x = load(attribute + dying), y = load(attribute + living);
      const bool is_older = older<kDual>(age<kDual>(carried, x, up), age<kDual>(carried, y, up));
      if (is_older) store(attribute + living, static_cast<uint16_t>(x));
      // The younger extremum dies here: it names this pair.
      if (is_pair)
        store(b_.slot(b_.carried_at(image_, a)) + (is_older ? y : x),
              static_cast<uint16_t>(pairs_));
    }
    store(parent_ + dying, static_cast<uint16_t>(living));
    if (is_pair) store(pair_place<kDual>(b_, image_, pairs_++), pair_of(edge, dying));
  }

  const Block& b_;
  const int image_, attributes_;
  uint16_t* parent_;
  int pairs_ = 0, tree_ = 0;
};

// --- matching ------------------------------------------------------------------------------------

// Whether both image bars that the comparison image's pair goes through begin before they end.
template <bool kDual>
__device__ inline bool is_positive(const Block& b, uint32_t bar, const uint32_t (&pair)[2]) {
  for (int i = 0; i < 2; ++i) {
    const int birth =
        b.task.intersection ? birth_value<kDual>(b, 2, bar) : birth_value<kDual>(b, i, pair[i]);
    const int death =
        b.task.intersection ? death_value<kDual>(b, i, pair[i]) : death_value<kDual>(b, 2, bar);
    if (birth >= death) return false;
  }
  return true;
}

// Of every pair of the comparison image the pairs of the inputs that meet it, by their slots: those
// that name a pair of the input by a cell of the comparison image, or the other way round.
template <bool kDual>
__device__ inline void match(const Block& b) {
  const Head& head = b.head();
  const int bars = static_cast<int>(load(&head.pairs[kDual][2]));
  const bool inputs_carry = b.inputs_carry(kDual);
  uint16_t* partner = b.parent(0);  // (2, positions): the walks are over
  if (!inputs_carry) {
    for (int p = thread_index(); p < 2 * b.positions(); p += block_size())
      store(partner + p, static_cast<uint16_t>(kNone));
    sync_threads();  // none before some
    for (int i = 0; i < 2; ++i) {
      const int n = static_cast<int>(load(&head.pairs[kDual][i]));
      for (int q = thread_index(); q < n; q += block_size()) {
        const int bar = load(b.slot(i) + dead_of(load(pair_place<kDual>(b, i, q))));
        if (bar != kNone) store(partner + i * b.positions() + bar, static_cast<uint16_t>(q));
      }
    }
    sync_threads();  // both partners of a bar
  }
  for (int q = thread_index(); q < bars; q += block_size()) {
    uint32_t* place = pair_place<kDual>(b, 2, q);
    const uint32_t bar = load(place);
    uint32_t matched = 0, pair[2];
    int found[2];
    for (int i = 0; i < 2; ++i)
      found[i] =
          inputs_carry ? load(b.slot(i) + dead_of(bar)) : load(partner + i * b.positions() + q);
    if (found[0] != kNone && found[1] != kNone) {
      for (int i = 0; i < 2; ++i) pair[i] = load(pair_place<kDual>(b, i, found[i]));
      if (!b.task.positive_bars || is_positive<kDual>(b, bar, pair)) {
        for (int i = 0; i < 2; ++i) store(pair_place<kDual>(b, i, found[i]), pair[i] | kMatched);
        matched =
            kMatched | static_cast<uint32_t>(found[1]) << 13 | static_cast<uint32_t>(found[0]);
      }
    }
    store(place, matched);
  }
}

// One degree of both images: 0 by the primal graph, 1 by the dual one.
template <bool kDual>
__device__ inline void find_pairs(const Block& b, bool has_tree) {
  prepare<kDual>(b, has_tree);
  if (warp_index() < 3 && lane_index() == 0) Walk<kDual>(b, warp_index()).run();
  sync_threads();  // pairs and slots of all images
  match<kDual>(b);
  sync_threads();  // the next pass, or the end, has the memory
}

}  // namespace surprisal::betti_matching
