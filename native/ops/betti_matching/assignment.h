// The matching of two barcodes of least cost, where a bar may stay alone (the 2-Wasserstein
// distance of persistence diagrams with the Euclidean distance of points, a lone bar costing its
// squared distance from the diagonal). With a bar's middle m and length l, joining two bars saves
//   gain = l l' - 2 (m - m')^2
// of what they cost alone. Equal bars of one side form a type: a 0/1 mask has one, whose best
// partners need only be picked. In general, paths of greatest gain one after the other: a bar joins
// a type, one of its bars moves on to the next, until one has room; they stop when none gains.
#pragma once
#include <algorithm>
#include <cmath>
#include <string>

#include "core/check.h"
#include "ops/betti_matching/items.h"
#include "ops/betti_matching/list.h"

namespace surprisal::betti_matching {

struct Bar {
  double birth, death;
  int32_t birth_voxel, death_voxel;

  double length() const { return std::abs(birth - death); }
  double middle() const { return (birth + death) / 2; }
};

class Assignment {
 public:
  // For each bar of `a` its partner in `b`, or -1.
  void solve(const List<Bar>& a, const List<Bar>& b, List<int32_t>& partner, const char* caller);

 private:
  struct Type {
    double middle, length;
    int32_t first, count;  // in sorted_
  };
  struct Candidate {
    double gain;
    int32_t bar;
    bool operator<(const Candidate& o) const {
      return gain != o.gain ? gain > o.gain : bar < o.bar;
    }
  };
  struct Move {
    double gain;
    int32_t bar;
  };

  static bool before(const Bar& x, const Bar& y) {
    return x.birth != y.birth ? x.birth < y.birth : x.death < y.death;
  }
  static int64_t sort(const List<Bar>& bars, List<int32_t>& order);
  double gain(int32_t bar, const Type& type) const {
    const double apart = bars_[bar].middle() - type.middle;
    return bars_[bar].length() * type.length - 2 * apart * apart;
  }
  void collect_types(const List<Bar>& typed);
  void check_size(int64_t entries, const char* caller) const;
  void collect_candidates(const char* caller);
  void find_moves(int64_t type);
  int64_t find_path();
  bool augment();

  const Bar* bars_ = nullptr;  // those that join types
  int64_t count_ = 0, units_ = 0;
  List<int32_t> order_[2], sorted_;
  List<Type> types_;
  List<Candidate> candidates_, all_;  // of each type the best, in order
  List<int64_t> next_, ends_;         // into candidates_
  List<int32_t> joined_;              // of each bar its type, or -1
  List<int32_t> members_, used_;      // of types: bars, by type from Type::first on; how many
  List<Move> moves_;                  // from type to type
  List<double> best_, potential_;     // of each type
  List<int32_t> from_;
  List<uint8_t> done_;
  double total_ = 0;  // what the last path gained
  double least_ = 0;  // gains of rounding
};

inline int64_t Assignment::sort(const List<Bar>& bars, List<int32_t>& order) {
  order.resize(bars.size());
  for (int64_t i = 0; i < bars.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::sort(order.begin(), order.end(), [&](int32_t i, int32_t j) {
    return before(bars[i], bars[j]) || (!before(bars[j], bars[i]) && i < j);
  });
  int64_t types = 0;
  for (int64_t i = 0; i < bars.size(); ++i)
    types += i == 0 || before(bars[order[i - 1]], bars[order[i]]);
  return types;
}

inline void Assignment::collect_types(const List<Bar>& typed) {
  types_.clear();
  for (int64_t i = 0; i < sorted_.size(); ++i) {
    const Bar& bar = typed[sorted_[i]];
    if (i == 0 || before(typed[sorted_[i - 1]], bar))
      types_.push({bar.middle(), bar.length(), static_cast<int32_t>(i), 0});
    ++types_[types_.size() - 1].count;
  }
}

// Of candidates, or of moves between types.
inline void Assignment::check_size(int64_t entries, const char* caller) const {
  constexpr int64_t kMost = int64_t{1} << 27;
  if (entries <= kMost) return;
  throw Error(Code::invalid_value,
              std::string(caller) + ": expected barcodes that can be matched, got " +
                  std::to_string(count_) + " and " + std::to_string(units_) +
                  " bars, hardly any of them equal; leave short ones out (minLength)");
}

// No bar joins a type at a loss, and at most units - 1 others can have joined before it.
inline void Assignment::collect_candidates(const char* caller) {
  least_ = 0;
  candidates_.clear();
  next_.clear();
  ends_.clear();
  for (const Type& type : types_) {
    check_cancelled();
    all_.clear();
    for (int32_t bar = 0; bar < count_; ++bar) {
      const double g = gain(bar, type);
      if (g > 0) all_.push({g, bar});
    }
    const int64_t kept = std::min(all_.size(), units_);
    std::partial_sort(all_.begin(), all_.begin() + kept, all_.end());
    check_size(candidates_.size() + kept, caller);
    next_.push(candidates_.size());
    for (int64_t i = 0; i < kept; ++i) candidates_.push(all_[i]);
    if (kept > 0) least_ = std::max(least_, 1e-13 * all_[0].gain);
    ends_.push(candidates_.size());
  }
}

// The best bar of a type to move to each other one.
inline void Assignment::find_moves(int64_t a) {
  const int64_t types = types_.size();
  const double none = -std::numeric_limits<double>::infinity();
  for (int64_t b = 0; b < types; ++b) moves_[a * types + b] = {none, -1};
  for (int32_t i = 0; i < used_[a]; ++i) {
    const int32_t bar = members_[types_[a].first + i];
    const double own = gain(bar, types_[a]);
    for (int64_t b = 0; b < types; ++b) {
      const double g = gain(bar, types_[b]) - own;
      Move& move = moves_[a * types + b];
      if (b != a && g > move.gain) move = {g, bar};
    }
  }
}

// The path of greatest gain, in Dijkstra's order: no move gains more than the potentials of its two
// types differ by. Gives the type where it ends, or -1; stops where no type left can be on a better
// one.
inline int64_t Assignment::find_path() {
  const int64_t types = types_.size();
  int64_t end = -1;
  const auto meet = [&](int64_t t) {
    if (used_[t] < types_[t].count && (end < 0 || best_[t] > best_[end])) end = t;
  };
  for (int64_t t = 0; t < types; ++t) meet(t);
  if (end < 0) return -1;
  if (types == 1) return end;
  if (!(total_ < std::numeric_limits<double>::infinity())) {
    total_ = best_[end];
    std::copy(best_.begin(), best_.end(), potential_.begin());
  }
  for (;;) {
    int64_t a = -1;
    for (int64_t t = 0; t < types; ++t)
      if (!done_[t] && (a < 0 || best_[t] - potential_[t] > best_[a] - potential_[a])) a = t;
    if (a < 0 || best_[a] - potential_[a] <= best_[end] - total_) break;
    done_[a] = 1;
    if (used_[a] == 0) continue;
    const Move* const moves = &moves_[a * types];
    for (int64_t b = 0; b < types; ++b) {
      const double g = best_[a] + moves[b].gain;
      if (done_[b] || !(g > best_[b])) continue;
      best_[b] = g;
      from_[b] = static_cast<int32_t>(a);
      meet(b);
    }
  }
  const double less = total_ - best_[end];
  total_ = best_[end];
  for (int64_t t = 0; t < types; ++t) potential_[t] = done_[t] ? best_[t] : potential_[t] - less;
  return end;
}

// One path; false if none gains.
inline bool Assignment::augment() {
  const int64_t types = types_.size();
  for (int64_t t = 0; t < types; ++t) {
    int64_t& next = next_[t];
    while (next < ends_[t] && joined_[candidates_[next].bar] >= 0) ++next;
    best_[t] = next < ends_[t] ? candidates_[next].gain : 0;
    from_[t] = -1;
    done_[t] = 0;
  }
  const int64_t end = find_path();
  if (end < 0 || !(best_[end] > least_)) return false;
  int64_t first = end;
  while (from_[first] >= 0) first = from_[first];
  if (next_[first] == ends_[first]) return false;  // moves alone gain nothing but by rounding
  // The last type takes a bar more; those before it exchange one.
  int64_t place = types_[end].first + used_[end]++;
  for (int64_t t = end;; t = from_[t]) {
    const int64_t before = from_[t];
    const int32_t bar = before < 0 ? candidates_[next_[t]].bar : moves_[before * types + t].bar;
    members_[place] = bar;
    joined_[bar] = static_cast<int32_t>(t);
    if (before < 0) break;
    place = types_[before].first;
    while (members_[place] != bar) ++place;
  }
  if (types > 1)
    for (int64_t t = end; t >= 0; t = from_[t]) find_moves(t);
  return true;
}

inline void Assignment::solve(const List<Bar>& a, const List<Bar>& b, List<int32_t>& partner,
                              const char* caller) {
  partner.resize(a.size());
  std::fill(partner.begin(), partner.end(), -1);
  if (a.size() == 0 || b.size() == 0) return;
  const bool types_are_b = sort(b, order_[1]) <= sort(a, order_[0]);
  const List<Bar>& typed = types_are_b ? b : a;
  const List<Bar>& bars = types_are_b ? a : b;
  sorted_.swap(order_[types_are_b ? 1 : 0]);
  bars_ = bars.data();
  count_ = bars.size();
  units_ = typed.size();
  collect_types(typed);
  const int64_t types = types_.size();
  check_size(types * types, caller);
  collect_candidates(caller);
  joined_.resize(count_);
  std::fill(joined_.begin(), joined_.end(), -1);
  members_.resize(units_);
  used_.resize(types);
  std::fill(used_.begin(), used_.end(), 0);
  best_.resize(types);
  potential_.resize(types);
  total_ = std::numeric_limits<double>::infinity();
  from_.resize(types);
  done_.resize(types);
  moves_.resize(types * types);
  for (int64_t t = 0; t < types; ++t) {
    check_cancelled();
    find_moves(t);
  }
  while (augment()) check_cancelled();
  for (int64_t t = 0; t < types; ++t) {
    int32_t* const members = &members_[types_[t].first];
    std::sort(members, members + used_[t]);
    for (int32_t i = 0; i < used_[t]; ++i) {
      const int32_t unit = sorted_[types_[t].first + i];
      partner[types_are_b ? members[i] : unit] = types_are_b ? unit : members[i];
    }
  }
}

}  // namespace surprisal::betti_matching
