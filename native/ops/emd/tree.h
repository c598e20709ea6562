// The spanning tree of a transport problem: rows are nodes 0..n-1, columns n..n+m-1, the root n+m.
// Every other node holds the arc to its parent: between a row and a column, or to the root, which
// is artificial and carries nothing. Arcs go from rows to columns and to the root, so that the arc
// of a row goes up and that of a column down. f_i + g_j = C_ij along the tree.
#pragma once
#include <vector>

#include "core/view.h"

namespace surprisal::emd {

class Tree {
 public:
  static constexpr int32_t kNone = -1;

  Tree(int64_t n, int64_t m)
      : n(static_cast<int32_t>(n)), root(static_cast<int32_t>(n + m)), nodes_(size()) {
    stack_.reserve(size());
  }

  const int32_t n, root;

  bool is_row(int32_t u) const { return u < n; }
  int32_t parent(int32_t u) const { return at(u).parent; }
  // Of nodes at and below it: larger than those of what is below.
  int32_t count(int32_t u) const { return at(u).count; }
  // Of the arc to the parent.
  double& flow(int32_t u) { return at(u).flow; }
  bool goes_up(int32_t u) const { return u < n || at(u).parent == root; }

  void hang(int32_t u, int32_t below, double flow) {
    Node& node = at(u);
    Node& parent = at(below);
    node.parent = below;
    node.flow = flow;
    node.next = parent.child;
    node.previous = kNone;
    if (parent.child != kNone) at(parent.child).previous = u;
    parent.child = u;
  }

  // Counts what hangs where, once all hangs.
  void count_all() {
    std::vector<int32_t> order;
    each_below(root, kNone, [&](int32_t u) { order.push_back(u); });
    for (const int32_t u : order) at(u).count = 1;
    for (auto u = order.rbegin(); *u != root; ++u) at(at(*u).parent).count += at(*u).count;
  }

  // Takes `from`, which is `top` or above it, off its parent, and hangs it upside down, by `top`,
  // below another node; `apex` is above both.
  void turn(int32_t top, int32_t from, int32_t below, int32_t apex, double flow) {
    const int32_t all = at(from).count, left = at(from).parent;
    for (int32_t u = top, to = below, before = 0;;) {
      const Node was = at(u);
      cut(u);
      hang(u, to, flow);
      at(u).count = all - before;
      if (u == from) break;
      flow = was.flow;
      before = was.count;
      to = u;
      u = was.parent;
    }
    for (int32_t u = left; u != apex; u = at(u).parent) at(u).count -= all;
    for (int32_t u = below; u != apex; u = at(u).parent) at(u).count += all;
  }

  // f(u) for all nodes at and below `top`, parents first, but for those at and below `except`.
  template <class F>
  void each_below(int32_t top, int32_t except, F&& f) {
    stack_.clear();
    stack_.push_back(top);
    while (!stack_.empty()) {
      const int32_t u = stack_.back();
      stack_.pop_back();
      if (u == except) continue;
      f(u);
      for (int32_t c = at(u).child; c != kNone; c = at(c).next) stack_.push_back(c);
    }
  }

 private:
  struct Node {
    int32_t parent = kNone, count = 1, child = kNone, next = kNone, previous = kNone;
    double flow = 0;
  };
  size_t size() const { return static_cast<size_t>(root) + 1; }
  Node& at(int32_t u) { return nodes_[static_cast<size_t>(u)]; }
  const Node& at(int32_t u) const { return nodes_[static_cast<size_t>(u)]; }

  void cut(int32_t u) {
    const Node& node = at(u);
    if (node.previous == kNone) {
      at(node.parent).child = node.next;
    } else {
      at(node.previous).next = node.next;
    }
    if (node.next != kNone) at(node.next).previous = node.previous;
  }

  std::vector<Node> nodes_;
  std::vector<int32_t> stack_;
};

}  // namespace surprisal::emd
