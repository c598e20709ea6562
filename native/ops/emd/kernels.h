// The simplex itself. Included inside a target's namespace.

namespace emd {

using namespace ::surprisal::emd;

// min over j of cost_j - price_j.
inline double row_min(const double* cost, const double* price, int64_t m) {
  constexpr int64_t kStep = 4 * kLanes<double>;
  const F64 most = splat(std::numeric_limits<double>::infinity());
  F64 least[4] = {most, most, most, most};
  int64_t j = 0;
  for (; j + kStep <= m; j += kStep)
    for (int k = 0; k < 4; ++k) {
      const int64_t at = j + k * kLanes<double>;
      least[k] = min(load(cost + at) - load(price + at), least[k]);
    }
  const F64 all = min(min(least[0], least[1]), min(least[2], least[3]));
  double result = all[0];
  for (int k = 1; k < kLanes<double>; ++k) result = std::min(result, all[k]);
  for (; j < m; ++j) result = std::min(result, cost[j] - price[j]);
  return result;
}

inline int64_t row_argmin(const double* cost, const double* price, int64_t m, double least) {
  int64_t j = 0;
  while (j + 1 < m && cost[j] - price[j] != least) ++j;
  return j;
}

class Simplex {
 public:
  explicit Simplex(const Instance& problem)
      : in_(problem), n_(problem.n), m_(problem.m), tree_(n_, m_), f_(n_), g_(m_) {
    double most = 0;
    for (int64_t e = 0; e < n_ * m_; ++e) most = std::max(most, std::fabs(in_.cost[e]));
    // Potentials are sums of costs along the tree, taken anew now and then: the deeper it is, the
    // more is rounded.
    const double nodes = static_cast<double>(n_ + m_);
    tolerance_ = std::max(1e-14, 1e-15 * std::sqrt(nodes)) * most;
    const double arcs = static_cast<double>(n_) * static_cast<double>(m_);
    block_ = std::max<int64_t>(64, static_cast<int64_t>(std::sqrt(arcs)));
    set_prices();
    start();
    tree_.count_all();
    set_potentials();
  }

  // Pivots until no arc would lower the cost; false at the limit. Where rounding beyond the
  // tolerance makes it go in circles there has to be one, and problems take a small part of it.
  bool run(int64_t limit) {
    if (!limit) limit = 1000 * (n_ + m_);
    for (;;) {
      Arc arc = price();
      if (arc.reduced >= -tolerance_) {
        // Rounding may have hidden one.
        set_potentials();
        arc = price();
        if (arc.reduced >= -tolerance_) return true;
      }
      if (pivots_ == limit) return false;
      pivot(arc);
      if (++pivots_ % (n_ + m_) == 0) set_potentials();
    }
  }

  // Potentials that fit everywhere, the plan, and what they are worth.
  Outcome finish(const Answer& out, bool optimal) {
    double primal = plan(out);
    std::copy_n(g_.data(), m_, out.g);
    for (int64_t i = 0; i < n_; ++i) out.f[i] = row_min(row(i), g_.data(), m_);
    loosen(out);
    double of_f = 0, of_g = 0, mass = 0;
    for (int64_t i = 0; i < n_; ++i) {
      of_f += in_.a[i] * out.f[i];
      mass += in_.a[i];
    }
    for (int64_t j = 0; j < m_; ++j) of_g += in_.b[j] * out.g[j];
    const double apart = (of_g - of_f) / (2 * mass);
    for (int64_t i = 0; i < n_; ++i) out.f[i] += apart;
    for (int64_t j = 0; j < m_; ++j) out.g[j] -= apart;
    const double gap = std::max(0.0, primal - of_f - of_g) * in_.scale;
    return {primal * in_.scale, optimal ? 0 : gap, (of_f + of_g) / (2 * mass), pivots_, optimal};
  }

 private:
  struct Arc {
    int32_t i, j;  // nodes
    double reduced;
  };

  const double* row(int64_t i) const { return in_.cost + i * m_; }

  // The arc of the most negative reduced cost in a block of rows, from where the last one ended on;
  // of all rows where none is below -tolerance.
  Arc price() {
    double best = 0, least = 0;
    int64_t at = 0, seen = 0;
    for (int64_t k = 0; k < n_; ++k) {
      const int64_t i = next_;
      next_ = i + 1 == n_ ? 0 : i + 1;
      if (in_.a[i] <= 0) continue;
      const double cheapest = row_min(row(i), g_.data(), m_);
      if (cheapest - f_[i] < best) {
        best = cheapest - f_[i];
        least = cheapest;
        at = i;
      }
      seen += m_;
      if (seen >= block_ && best < -tolerance_) break;
    }
    if (best >= -tolerance_) return {0, 0, 0};
    const int64_t j = row_argmin(row(at), g_.data(), m_, least);
    return {static_cast<int32_t>(at), static_cast<int32_t>(n_ + j), best};
  }

  // Where a cycle loses flow first.
  struct Leaving {
    double flow = kInfinity;
    int32_t node = Tree::kNone;
  };

  // Of the arcs of the cycle that are empty first, the last along the flow from the apex leaves:
  // then empty arcs go up always, and no tree comes back (Cunningham).
  void pivot(Arc arc) {
    Leaving of_i, of_j;
    int32_t u = arc.i, v = arc.j;
    while (u != v) {
      if (tree_.count(u) <= tree_.count(v)) {
        if (tree_.goes_up(u) && tree_.flow(u) < of_i.flow) of_i = {tree_.flow(u), u};
        u = tree_.parent(u);
      } else {
        if (!tree_.goes_up(v) && tree_.flow(v) <= of_j.flow) of_j = {tree_.flow(v), v};
        v = tree_.parent(v);
      }
    }
    const bool by_j = of_j.flow <= of_i.flow;
    const double moved = by_j ? of_j.flow : of_i.flow;
    if (moved > 0) {
      for (int32_t w = arc.i; w != u; w = tree_.parent(w))
        tree_.flow(w) += tree_.goes_up(w) ? -moved : moved;
      for (int32_t w = arc.j; w != u; w = tree_.parent(w))
        tree_.flow(w) += tree_.goes_up(w) ? moved : -moved;
    }
    if (by_j) {
      tree_.turn(arc.j, of_j.node, arc.i, u, moved);
      shift(arc.j, -arc.reduced);
    } else {
      tree_.turn(arc.i, of_i.node, arc.j, u, moved);
      shift(arc.i, arc.reduced);
    }
  }

  // Rows at and below `top` by `delta`, columns by as much the other way; or all others, where they
  // are fewer, by the opposite, since only differences matter.
  void shift(int32_t top, double delta) {
    const bool others = 2 * tree_.count(top) > tree_.root;
    if (others) delta = -delta;
    tree_.each_below(others ? tree_.root : top, others ? top : Tree::kNone, [&](int32_t u) {
      if (tree_.is_row(u)) {
        f_[u] += delta;
      } else if (u != tree_.root) {
        g_[u - n_] -= delta;
      }
    });
  }

  void set_potentials() {
    tree_.each_below(tree_.root, Tree::kNone, [&](int32_t u) {
      if (u == tree_.root || tree_.parent(u) == tree_.root) return;
      const int32_t up = tree_.parent(u);
      if (tree_.is_row(u)) {
        f_[u] = row(u)[up - n_] - g_[up - n_];
      } else {
        g_[u - n_] = row(up)[u - n_] - f_[up];
      }
    });
  }

  // Columns without weight take what the rows leave them.
  void loosen(const Answer& out) const {
    for (int64_t j = 0; j < m_; ++j)
      if (in_.b[j] <= 0) out.g[j] = kInfinity;
    for (int64_t i = 0; i < n_; ++i)
      for (int64_t j = 0; j < m_; ++j)
        if (in_.b[j] <= 0) out.g[j] = std::min(out.g[j], row(i)[j] - out.f[i]);
  }

  // Flows anew from the leaves, which undoes the rounding of the pivots; gives their cost.
  double plan(const Answer& out) {
    std::vector<int32_t> order;
    tree_.each_below(tree_.root, Tree::kNone, [&](int32_t u) {
      if (u == tree_.root) return;
      order.push_back(u);
      tree_.flow(u) = tree_.is_row(u) ? in_.a[u] : in_.b[u - n_];
    });
    for (auto u = order.rbegin(); u != order.rend(); ++u) {
      const int32_t up = tree_.parent(*u);
      if (up != tree_.root) tree_.flow(up) -= tree_.flow(*u);
    }
    double sum = 0;
    int64_t entries = 0;
    for (int32_t u = 0; u < tree_.root; ++u) {
      const int32_t up = tree_.parent(u);
      if (up == Tree::kNone || up == tree_.root || tree_.flow(u) <= 0) continue;
      const int64_t i = tree_.is_row(u) ? u : up, j = (tree_.is_row(u) ? up : u) - n_;
      out.pairs[2 * entries] = static_cast<int32_t>(i);
      out.pairs[2 * entries + 1] = static_cast<int32_t>(j);
      out.mass[entries++] = tree_.flow(u) * in_.scale;
      sum += tree_.flow(u) * row(i)[j];
    }
    if (entries < n_ + m_) out.pairs[2 * entries] = -1;
    return sum;
  }

  // The least of each column and then of each row; without weight it is never the cheapest.
  void set_prices() {
    std::fill_n(g_.data(), m_, kInfinity);
    for (int64_t i = 0; i < n_; ++i) {
      if (in_.a[i] <= 0) continue;
      for (int64_t j = 0; j < m_; ++j) g_[j] = std::min(g_[j], row(i)[j]);
    }
    for (int64_t j = 0; j < m_; ++j)
      if (in_.b[j] <= 0) g_[j] = -kInfinity;
    for (int64_t i = 0; i < n_; ++i)
      if (in_.a[i] > 0) f_[i] = row_min(row(i), g_.data(), m_);
  }

  // Row by row the cheapest open column, less its price, until all is moved. Whichever is empty
  // then hangs on the other; what is left of each part of the forest hangs on the root.
  void start() {
    Scratch<double> supply(n_), demand(m_), open(m_);
    std::copy_n(in_.a, n_, supply.data());
    std::copy_n(in_.b, m_, demand.data());
    std::copy_n(g_.data(), m_, open.data());
    std::vector<int32_t> rows;
    for (int32_t i = 0; i < n_; ++i)
      if (supply[i] > 0) rows.push_back(i);
    int64_t columns = 0;
    for (int64_t j = 0; j < m_; ++j) columns += demand[j] > 0;
    while (!rows.empty() && columns > 0) {
      size_t kept = 0;
      for (size_t k = 0; k < rows.size() && columns > 0; ++k) {
        const int32_t i = rows[k];
        const double least = row_min(row(i), open.data(), m_);
        const int64_t j = row_argmin(row(i), open.data(), m_, least);
        const int32_t column = static_cast<int32_t>(n_ + j);
        const double moved = std::min(supply[i], demand[j]);
        supply[i] -= moved;
        demand[j] -= moved;
        if (supply[i] > 0) {
          tree_.hang(column, i, moved);
          rows[kept++] = i;
        } else {
          tree_.hang(i, column, moved);
        }
        if (demand[j] > 0) continue;
        open[j] = -kInfinity;
        --columns;
      }
      rows.resize(kept);
    }
    for (int32_t u = 0; u < tree_.root; ++u) {
      const bool used = tree_.is_row(u) ? in_.a[u] > 0 : in_.b[u - n_] > 0;
      if (used && tree_.parent(u) == Tree::kNone) tree_.hang(u, tree_.root, 0);
    }
  }

  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const Instance& in_;
  const int64_t n_, m_;
  Tree tree_;
  Scratch<double> f_, g_;
  double tolerance_ = 0;
  int64_t block_ = 0, next_ = 0, pivots_ = 0;
};

inline Outcome solve(const Instance& problem, int64_t limit, const Answer& out) {
  Simplex simplex(problem);
  return simplex.finish(out, simplex.run(limit));
}

}  // namespace emd
