// Union-find over what a sweep left: components of vertices joined by edges in ascending order (the
// primal graph, degree 0), or of top cells joined by faces in descending order (the dual graph, the
// highest degree, where the outside is the oldest). Hanging cells are joined from the start: the
// edge they hang by is the first (last) to touch them. A component's attribute is its extremum in
// another image; of two components that meet the younger attribute dies, whoever's component goes
// on, which gives the image barcodes from the one structure (Stucki et al. 2023, section 3; Bauer
// et al. 2022).
#pragma once
#include "ops/betti_matching/list.h"
#include "ops/betti_matching/scan.h"

namespace surprisal::betti_matching {

// A pair of cells of non-zero length. Cells are numbered as in grid.h.
struct Pair {
  uint32_t birth = 0, death = 0;
  int32_t birth_value = 0, death_value = 0;
  uint32_t link[2] = {0, 0};  // cells by which pairs of different images find each other
  uint32_t elder = 0;         // degree 0: the oldest vertex of the component that goes on
};

// An edge or face in a list: its number and, for events, which of its two ends hangs.
inline uint32_t place_of(uint32_t cell, int end) { return cell << 1 | static_cast<uint32_t>(end); }

template <class F>
void each_flag(const uint8_t* flags, int64_t begin, int64_t end, uint8_t mask, F&& f) {
  const uint64_t masks = mask * 0x0101010101010101u;
  for (int64_t p = begin; p < end; p += 8) {
    uint64_t word;
    std::memcpy(&word, flags + p, 8);
    word &= masks;
    if (p + 8 > end) word &= ~uint64_t{0} >> 8 * (p + 8 - end);
    for (; word; word &= word - 1) {
      const int bit = __builtin_ctzll(word);
      f(static_cast<int32_t>(p + (bit >> 3)), bit & 7);
    }
  }
}

// The two graphs by one set of words. `first` and `second` are the ends of an edge or face.
template <bool kDual>
struct Graph {
  const Cells cells;
  int32_t* parent;
  const uint8_t* flags;
  int32_t infinite;  // the key of +inf: a cell of that value ends nothing

  int32_t step(int type) const { return kDual ? cells.g.dual_step(type) : cells.g.step[type]; }
  int32_t first(uint32_t cell) const {
    const int32_t v = static_cast<int32_t>(cell >> 2);
    return kDual ? v - step(cell & 3) : v;
  }
  int32_t second(uint32_t cell) const {
    const int32_t v = static_cast<int32_t>(cell >> 2);
    return kDual ? v : v + step(cell & 3);
  }
  int32_t value(uint32_t cell) const {
    return kDual ? cells.face(cell) : cells.edge(static_cast<int32_t>(cell >> 2), cell & 3);
  }
  // The order of ages: of two nodes the older one survives.
  static bool older(uint64_t a, uint64_t b) { return kDual ? a > b : a < b; }
  static uint64_t age(const Cells& in, int32_t node) {
    return ordered(kDual ? in.top(node) : in.key[node], static_cast<uint32_t>(node));
  }
  int64_t begin() const { return cells.g.rank == 3 ? cells.g.at(0, 0, 0) : cells.g.at(0, 0); }
  int64_t end() const { return cells.g.size - begin(); }
};

template <bool kDual>
void collect_critical(const Graph<kDual>& graph, List<uint64_t>& out) {
  each_flag(graph.flags, graph.begin(), graph.end(), (1 << kEventBit) - 1,
            [&](int32_t v, int type) {
              const uint32_t cell = static_cast<uint32_t>(v) << 2 | static_cast<uint32_t>(type);
              out.push(ordered(graph.value(cell), place_of(cell, 0)));
            });
}

// How far an event is followed to see whether its component had an older attribute before.
constexpr int kEventSteps = 12;

template <bool kDual>
bool is_record(const Graph<kDual>& graph, const Cells& other, int32_t node) {
  const uint64_t age = Graph<kDual>::age(other, node);
  for (int step = 0; step < kEventSteps; ++step) {
    node = graph.parent[node];
    if (node < 0) return true;
    if (kDual && node == 0) return false;  // the outside is older than everything
    if (Graph<kDual>::older(Graph<kDual>::age(other, node), age)) return false;
  }
  return true;
}

template <bool kDual, int kAttributes>
class Forest {
 public:
  // `others` are the images whose attributes components carry.
  Forest(const Graph<kDual>& graph, const int32_t* const* others) : graph_(graph) {
    for (int a = 0; a < kAttributes; ++a) others_[a] = others[a];
    if (kDual) {
      graph_.parent[0] = ~0;
      Root outside;
      for (uint64_t& age : outside.age) age = ordered(kOutside, 0);
      roots_.push(outside);
    }
    each_flag(graph_.flags, graph_.begin(), graph_.end(), 1 << kNodeBit, [&](int32_t v, int) {
      graph_.parent[v] = ~static_cast<int32_t>(roots_.size());
      Root root;
      root.age[0] = Graph<kDual>::age(graph_.cells, v);
      for (int a = 0; a < kAttributes; ++a) root.age[a + 1] = Graph<kDual>::age(other(a), v);
      roots_.push(root);
    });
    if (kAttributes == 0) return;
    constexpr uint8_t mask = ((1 << kNodeBit) - 1) & ~((1 << kEventBit) - 1);
    each_flag(graph_.flags, graph_.begin(), graph_.end(), mask, [&](int32_t v, int bit) {
      const uint32_t cell = static_cast<uint32_t>(v) << 2 | static_cast<uint32_t>(bit - kEventBit);
      const int32_t first = graph_.first(cell), second = graph_.second(cell);
      const bool is_first = graph_.parent[first] == second;
      const int32_t node = is_first ? first : second;
      for (int a = 0; a < kAttributes; ++a) {
        if (!is_record(graph_, other(a), node)) continue;
        events_.push(ordered(graph_.value(cell), place_of(cell, is_first ? 0 : 1)));
        break;
      }
    });
    sort_by_value(events_);
  }

  // Joins along the critical cells, sorted. Those that close a loop go to `rest`, in ascending
  // order.
  void join(const List<uint64_t>& critical, List<Pair>& pairs, List<uint64_t>* rest) {
    const int64_t n = critical.size(), m = events_.size();
    int64_t i = 0, j = 0;
    const auto at = [](int64_t k, int64_t count) { return kDual ? count - 1 - k : k; };
    while (i < n) {
      const uint64_t entry = critical[at(i, n)];
      for (; j < m && Graph<kDual>::older(events_[at(j, m)], entry); ++j) meet(events_[at(j, m)]);
      ++i;
      if (!link(entry, pairs) && rest) rest->push(entry);
    }
    if (kDual && rest) std::reverse(rest->begin(), rest->end());
  }

  // The oldest cell of a component.
  int32_t oldest(int32_t node) {
    return static_cast<int32_t>(number_in(roots_[~graph_.parent[find(node)]].age[0]));
  }

 private:
  struct Root {
    uint64_t age[1 + kAttributes];  // of its oldest cell, and of its oldest in each other image
  };

  Cells other(int a) const { return {graph_.cells.g, others_[a]}; }

  int32_t find(int32_t node) {
    int32_t* parent = graph_.parent;
    for (;;) {
      const int32_t up = parent[node];
      if (up < 0) return node;
      const int32_t next = parent[up];
      if (next < 0) return up;
      parent[node] = next;
      node = next;
    }
  }

  void meet(uint64_t entry) {
    const uint32_t place = number_in(entry);
    const int32_t node = place & 1 ? graph_.second(place >> 1) : graph_.first(place >> 1);
    Root& root = roots_[~graph_.parent[find(node)]];
    for (int a = 1; a <= kAttributes; ++a) {
      const uint64_t age = Graph<kDual>::age(other(a - 1), node);
      if (Graph<kDual>::older(age, root.age[a])) root.age[a] = age;
    }
  }

  bool link(uint64_t entry, List<Pair>& pairs) {
    const uint32_t cell = number_in(entry) >> 1;
    int32_t young = find(graph_.first(cell)), old = find(graph_.second(cell));
    if (young == old) return false;
    Root* dying = &roots_[~graph_.parent[young]];
    Root* living = &roots_[~graph_.parent[old]];
    if (Graph<kDual>::older(dying->age[0], living->age[0])) {
      std::swap(young, old);
      std::swap(dying, living);
    }
    const uint32_t dead = number_in(dying->age[0]);
    const int32_t dead_value = value_in(dying->age[0]), value = value_in(entry);
    Pair pair = kDual ? Pair{cell, dead, value, dead_value, {}, 0}
                      : Pair{dead, cell, dead_value, value, {}, 0};
    pair.elder = number_in(living->age[0]);
    for (int a = 0; a < kAttributes; ++a) {
      const uint64_t x = dying->age[a + 1], y = living->age[a + 1];
      const bool is_older = Graph<kDual>::older(x, y);
      pair.link[a] = number_in(is_older ? y : x);
      living->age[a + 1] = is_older ? x : y;
    }
    graph_.parent[young] = old;
    if (value != dead_value && pair.death_value < graph_.infinite) pairs.push(pair);
    return true;
  }

  Graph<kDual> graph_;
  const int32_t* others_[kAttributes == 0 ? 1 : kAttributes] = {};
  List<Root> roots_;
  List<uint64_t> events_;
};

}  // namespace surprisal::betti_matching
