// Union-find over what a sweep left: components of vertices joined by edges in ascending order (the
// primal graph, degree 0), or of top cells joined by faces in descending order (the dual graph, the
// highest degree, where the outside is the oldest). Hanging cells are joined from the start: the
// edge they hang by is the first (last) to touch them, so that critical cells alone are numbered
// and joined. A component's attribute is its extremum in another image; of two components that meet
// the younger attribute dies, whoever's component goes on, which gives the image barcodes from the
// one structure (Stucki et al. 2023, section 3; Bauer et al. 2022).
#pragma once
#include <numeric>

#include "ops/betti_matching/list.h"
#include "ops/betti_matching/scan.h"

namespace surprisal::betti_matching {

// A pair of cells of non-zero length. Cells are numbered as in grid.h.
struct Pair {
  uint32_t birth = 0, death = 0;
  uint32_t link[2] = {0, 0};  // cells by which pairs of different images find each other
};

inline uint32_t cell_of(int32_t v, int type) {
  return static_cast<uint32_t>(v) << 2 | static_cast<uint32_t>(type);
}

template <class F>
void each_flag(const uint8_t* flags, int64_t begin, int64_t end, uint8_t mask, F&& f) {
  const uint64_t masks = mask * 0x0101010101010101u;
  for (int64_t p = begin; p < end; p += 8) {
    check_cancelled_at(p - begin);
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
  const uint8_t *code, *flags;
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
  // Of a cell by which one of its ends hangs, that end.
  int32_t hanging(uint32_t cell) const {
    const int type = cell & 3, rank = cells.g.rank;
    const int forward = !kDual ? rank + type : rank == 3 ? type : 1 - type;
    const int32_t node = first(cell);
    return (code[node] & 7) == forward ? node : second(cell);
  }
  int32_t value(uint32_t cell) const {
    return kDual ? cells.face(cell) : cells.edge(static_cast<int32_t>(cell >> 2), cell & 3);
  }
  // The order of ages, in which cells are met: of two nodes the older one survives.
  static bool older(uint64_t a, uint64_t b) { return kDual ? a > b : a < b; }
  static constexpr uint64_t kNever = kDual ? 0 : ~uint64_t{0};
  static uint64_t age(const Cells& in, int32_t node) {
    return ordered(kDual ? in.top(node) : in.key[node], static_cast<uint32_t>(node));
  }
  int64_t begin() const { return cells.g.rank == 3 ? cells.g.at(0, 0, 0) : cells.g.at(0, 0); }
  int64_t end() const { return cells.g.size - begin(); }
};

// Critical edges or faces in ascending order.
template <bool kDual>
void collect_critical(const Graph<kDual>& graph, List<uint64_t>& out) {
  out.clear();
  each_flag(graph.flags, graph.begin(), graph.end(), (1 << kEventBit) - 1,
            [&](int32_t v, int type) {
              const uint32_t cell = cell_of(v, type);
              out.push(ordered(graph.value(cell), cell));
            });
  sort_by_value(out);
}

// What joining gives; what is null is not wanted.
struct Joined {
  List<Pair>& pairs;
  List<uint64_t>* loops = nullptr;    // critical cells that close a loop, in ascending order
  List<int32_t>* elders = nullptr;    // of each pair the oldest node of the component that goes on
  uint8_t* ends_component = nullptr;  // gets a bit (kEventBit and so on) for each edge that does
};

// How far an event is followed to see whether its component had an older attribute before.
constexpr int kEventSteps = 4;

template <bool kDual, int kAttributes>
class Forest {
  using Of = Graph<kDual>;

 public:
  // `others` are the images whose attributes components carry, `critical` the cells to join along.
  Forest(const Of& graph, const int32_t* const* others, const List<uint64_t>& critical)
      : graph_(graph), critical_(critical) {
    for (int a = 0; a < kAttributes; ++a) others_[a] = others[a];
    // Many walks cost more than to shorten them all; events look at what is on their way.
    const bool dense = critical.size() > graph.cells.g.size / 16;
    if (kAttributes == 0 && dense) shorten(graph.cells.g, graph.parent);
    number_roots();
    ends_.resize(critical.size());
    if (dense)
      find_ends();
    else
      find_far_ends();
    find_first();
    if constexpr (kAttributes > 0)
      find_events();
    else
      end_early();
  }

  void join(const Joined& out) {
    const int64_t n = critical_.size(), m = order_.size();
    const auto at = [](int64_t k, int64_t count) { return kDual ? count - 1 - k : k; };
    for (int64_t i = 0, j = 0; i < n; ++i) {
      check_cancelled_at(i);
      const uint64_t entry = critical_[at(i, n)];
      for (; kAttributes > 0 && j < m; ++j) {
        const Event& event = events_[number_in(order_[at(j, m)])];
        if (!Of::older(event.entry, entry)) break;
        meet(find(event.root), event);
      }
      if (kAttributes == 0 && ended_[at(i, n)] >= 0) {
        const int32_t root = ended_[at(i, n)];
        end(entry, roots_[root], parent_[root], {}, out);
      } else if (!link(entry, ends_[at(i, n)], out) && out.loops) {
        out.loops->push(entry);
      }
    }
    if (kDual && out.loops) std::reverse(out.loops->begin(), out.loops->end());
  }

  // The oldest cell of a component.
  int32_t oldest(int32_t node) {
    return static_cast<int32_t>(number_in(roots_[find(root_of(graph_.parent, node))].age[0]));
  }

 private:
  struct Root {
    uint64_t age[1 + kAttributes];  // of its oldest cell, and of its oldest in each other image
  };
  struct Ends {
    int32_t first, second;
  };
  struct Event {
    uint64_t entry;
    uint64_t age[1 + kAttributes];  // the first is not used
    int32_t root;
  };

  Cells other(int a) const { return {graph_.cells.g, others_[a]}; }

  void number_roots() {
    const auto add = [&](int32_t node, const Root& root) {
      graph_.parent[node] = ~static_cast<int32_t>(roots_.size());
      roots_.push(root);
    };
    Root root;
    if (kDual) {
      for (uint64_t& age : root.age) age = ordered(kOutside, 0);
      add(0, root);
    }
    each_flag(graph_.flags, graph_.begin(), graph_.end(), 1 << kNodeBit, [&](int32_t v, int) {
      root.age[0] = Of::age(graph_.cells, v);
      for (int a = 0; a < kAttributes; ++a) root.age[a + 1] = Of::age(other(a), v);
      add(v, root);
    });
    parent_.resize(roots_.size());
    std::iota(parent_.begin(), parent_.end(), 0);
  }

  // Where the roots of the ends of critical cells are looked up, apart from joining: here the walks
  // do not wait for each other.
  void find_ends() {
    for (int64_t k = 0; k < critical_.size(); ++k) {
      check_cancelled_at(k);
      const uint32_t cell = number_in(critical_[k]);
      ends_[k] = {graph_.first(cell), graph_.second(cell)};
    }
    roots_of(graph_.parent, 2 * critical_.size(), &ends_[0].first);
  }

  // The same where there are few roots: long walks, shortened on the way.
  void find_far_ends() {
    constexpr int kCells = 8;
    int32_t node[2 * kCells];
    int32_t* parent = graph_.parent;
    for (int64_t k = 0; k < critical_.size(); k += kCells) {
      check_cancelled_at(k);
      const int cells = static_cast<int>(std::min<int64_t>(kCells, critical_.size() - k));
      for (int c = 0; c < cells; ++c) {
        const uint32_t cell = number_in(critical_[k + c]);
        node[2 * c] = graph_.first(cell);
        node[2 * c + 1] = graph_.second(cell);
      }
      for (bool moved = true; moved;) {
        moved = false;
        for (int w = 0; w < 2 * cells; ++w) {
          const int32_t up = parent[node[w]];
          if (up < 0) continue;
          const int32_t next = parent[up];
          if (next >= 0) parent[node[w]] = next;
          node[w] = next < 0 ? up : next;
          moved = true;
        }
      }
      for (int c = 0; c < cells; ++c)
        ends_[k + c] = {~parent[node[2 * c]], ~parent[node[2 * c + 1]]};
    }
  }

  // Of each root the first critical cell that leads to another one.
  void find_first() {
    const int64_t n = critical_.size();
    first_.resize(roots_.size() + 1);
    std::fill(first_.begin(), first_.end(), -1);
    const int32_t nobody = static_cast<int32_t>(roots_.size());
    for (int64_t i = 0; i < n; ++i) {  // the first to be met comes last
      check_cancelled_at(i);
      const int64_t k = kDual ? i : n - 1 - i;
      const auto [a, b] = ends_[k];
      first_[a == b ? nobody : a] = first_[a == b ? nobody : b] = static_cast<int32_t>(k);
    }
  }

  // The first cell that joins a component to another ends it if the other's oldest node is older:
  // by then nothing else has joined it, and what has joined the other is older still.
  void end_early() {
    ended_.resize(critical_.size());
    std::fill(ended_.begin(), ended_.end(), -1);
    for (int32_t root = kDual ? 1 : 0; root < roots_.size(); ++root) {
      check_cancelled_at(root);
      const int32_t k = first_[root];
      if (k < 0) continue;
      const int32_t other = ends_[k].first == root ? ends_[k].second : ends_[k].first;
      if (!Of::older(roots_[other].age[0], roots_[root].age[0])) continue;
      parent_[root] = other;
      ended_[k] = root;
    }
  }

  // Where a hanging cell may change an attribute. Before a root's first critical cell nobody reads
  // it, so those events need no order.
  void find_events() {
    constexpr uint8_t mask = ((1 << kNodeBit) - 1) & ~((1 << kEventBit) - 1);
    each_flag(graph_.flags, graph_.begin(), graph_.end(), mask, [&](int32_t v, int bit) {
      const uint32_t cell = cell_of(v, bit - kEventBit);
      Event event;
      if (!is_record(graph_.hanging(cell), event)) return;
      event.entry = ordered(graph_.value(cell), cell);
      const int32_t first = first_[event.root];
      if (first < 0 || Of::older(event.entry, critical_[first])) return meet(event.root, event);
      order_.push(ordered(value_in(event.entry), static_cast<uint32_t>(events_.size())));
      events_.push(event);
    });
    sort_by_value(order_);
  }

  // Whether the node's component has had no older attributes before, as far as is known.
  bool is_record(int32_t node, Event& event) {
    bool records[1 + kAttributes];
    const auto any_against = [&](auto age_of) {
      bool any = false;
      for (int a = 1; a <= kAttributes; ++a) {
        records[a] = records[a] && !Of::older(age_of(a), event.age[a]);
        any = any || records[a];
      }
      return any;
    };
    for (int a = 1; a <= kAttributes; ++a) {
      records[a] = true;
      event.age[a] = Of::age(other(a - 1), node);
    }
    int32_t up = graph_.parent[node];
    for (int step = 0; up >= 0 && step < kEventSteps; ++step) {
      // The outside is older than everything.
      if (kDual && up == 0) return false;
      if (!any_against([&](int a) { return Of::age(other(a - 1), up); })) return false;
      up = graph_.parent[up];
    }
    event.root = up < 0 ? ~up : root_of(graph_.parent, up);
    return any_against([&](int a) { return roots_[event.root].age[a]; });
  }

  void meet(int32_t root, const Event& event) {
    for (int a = 1; a <= kAttributes; ++a) {
      uint64_t& age = roots_[root].age[a];
      if (Of::older(event.age[a], age)) age = event.age[a];
    }
  }

  int32_t find(int32_t root) {
    int32_t* parent = parent_.data();
    for (;;) {
      const int32_t up = parent[root];
      if (up == root) return root;
      root = parent[root] = parent[up];
    }
  }

  bool link(uint64_t entry, Ends ends, const Joined& out) {
    const int32_t a = find(ends.first), b = find(ends.second);
    if (a == b) return false;
    const bool swapped = Of::older(roots_[a].age[0], roots_[b].age[0]);
    const int32_t young = swapped ? b : a, old = swapped ? a : b;
    const Root& dying = roots_[young];
    Root& living = roots_[old];
    Pair pair;
    for (int k = 0; k < kAttributes; ++k) {
      const uint64_t x = dying.age[k + 1], y = living.age[k + 1];
      const bool is_older = Of::older(x, y);
      pair.link[k] = number_in(is_older ? y : x);
      living.age[k + 1] = is_older ? x : y;
    }
    parent_[young] = old;
    end(entry, dying, old, pair, out);
    return true;
  }

  // The component of `dying` ends in that of another root.
  void end(uint64_t entry, const Root& dying, int32_t other, Pair pair, const Joined& out) {
    const uint32_t cell = number_in(entry), dead = number_in(dying.age[0]);
    if (out.ends_component)
      out.ends_component[cell >> 2] |= static_cast<uint8_t>(1 << (kEventBit + (cell & 3)));
    const int32_t value = value_in(entry), dead_value = value_in(dying.age[0]);
    if (value == dead_value || (kDual ? dead_value : value) >= graph_.infinite) return;
    pair.birth = kDual ? cell : dead;
    pair.death = kDual ? dead : cell;
    out.pairs.push(pair);
    if (out.elders) out.elders->push(static_cast<int32_t>(number_in(roots_[find(other)].age[0])));
  }

  Of graph_;
  const List<uint64_t>& critical_;
  const int32_t* others_[kAttributes == 0 ? 1 : kAttributes] = {};
  List<Root> roots_;
  List<int32_t> parent_;  // by root
  List<Ends> ends_;       // of critical cells, as roots
  List<int32_t> first_;   // by root: place of the first critical cell to another, or -1
  List<int32_t> ended_;   // of critical cells the root that is known to end there, or -1
  List<Event> events_;
  List<uint64_t> order_;  // of events: value and place in events_
};

}  // namespace surprisal::betti_matching
