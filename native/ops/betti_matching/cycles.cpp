#include "ops/betti_matching/cycles.h"

#include <algorithm>

#include "ops/betti_matching/matching.h"

namespace surprisal::betti_matching {
namespace {

// The edge that a vertex hangs by, or 0 (which no edge is): of those that end a vertex the one
// whose younger end it is.
uint32_t hanging_edge(const Side& side, int32_t v) {
  const Grid& g = side.cells.g;
  const int32_t* key = side.cells.key;
  for (int axis = 0; axis < 3; ++axis) {
    const int32_t back = v - g.step[axis];
    const int bit = kEventBit + axis;
    if ((side.paired[back] >> bit & 1) && key[back] <= key[v]) return cell_of(back, axis);
    if ((side.paired[v] >> bit & 1) && key[v + g.step[axis]] < key[v]) return cell_of(v, axis);
  }
  return 0;
}

}  // namespace

void Cycles::surround(const Cells& cells, uint32_t birth, int32_t dead, List<uint32_t>& faces) {
  const Grid& g = cells.g;
  if (seen_.size() != g.size || count_ == std::numeric_limits<int32_t>::max()) {
    seen_.resize(g.size);
    std::fill(seen_.begin(), seen_.end(), 0);
    count_ = 0;
  }
  ++count_;
  members_.clear();
  members_.push(dead);
  seen_[dead] = count_;
  const uint64_t last = ordered(cells.face(birth), birth);
  const auto each_face = [&](int32_t top, auto&& f) {
    for (int type = 0; type < g.rank; ++type) {
      const int32_t step = g.dual_step(type);
      f(cell_of(top, type), top - step);
      f(cell_of(top + step, type), top + step);
    }
  };
  for (int64_t i = 0; i < members_.size(); ++i) {
    if ((i & 0xfff) == 0) check_cancelled();
    each_face(members_[i], [&](uint32_t face, int32_t other) {
      if (seen_[other] == count_ || ordered(cells.face(face), face) <= last) return;
      seen_[other] = count_;
      members_.push(other);
    });
  }
  faces.clear();
  for (const int32_t top : members_)
    each_face(top, [&](uint32_t face, int32_t other) {
      if (seen_[other] != count_) faces.push(face);
    });
  std::sort(faces.begin(), faces.end());
}

// From the youngest end on: each hangs on an older vertex, which becomes an end in its place or, if
// it was one, no longer is.
void Cycles::close(const Side& side, List<uint32_t>& loop) {
  const Grid& g = side.cells.g;
  ends_.clear();
  const auto add = [&](int32_t v) {
    ends_.push(ordered(side.cells.key[v], static_cast<uint32_t>(v)));
    std::push_heap(ends_.begin(), ends_.end());
  };
  const auto take = [&] {
    const uint64_t top = ends_[0];
    std::pop_heap(ends_.begin(), ends_.end());
    ends_.resize(ends_.size() - 1);
    return top;
  };
  for (const uint32_t edge : loop) {
    const int32_t v = static_cast<int32_t>(edge >> 2);
    add(v);
    add(v + g.step[edge & 3]);
  }
  while (ends_.size() > 0) {
    const uint64_t end = take();
    bool is_odd = true;
    for (; ends_.size() > 0 && ends_[0] == end; take()) is_odd = !is_odd;
    if (!is_odd) continue;
    const int32_t v = static_cast<int32_t>(number_in(end));
    const uint32_t edge = hanging_edge(side, v);
    require(edge != 0, "bettiMatching: a loop that does not close");
    loop.push(edge);
    const int32_t near = static_cast<int32_t>(edge >> 2);
    add(near == v ? v + g.step[edge & 3] : near);
  }
  std::sort(loop.begin(), loop.end());
}

// The voxels of the cell at v that spans the axes a and b, -1 for none.
void Matching::put_cell(List<int32_t>& out, int32_t v, int a, int b) const {
  for (int corner = 0; corner < (a < 0 ? 1 : b < 0 ? 2 : 4); ++corner) {
    const int32_t along = b < 0 ? corner : corner >> 1, across = b < 0 ? 0 : corner & 1;
    out.push(voxel(v + (along ? grid_.step[a] : 0) + (across ? grid_.step[b] : 0)));
  }
}

void Matching::cycle(Cycles& cycles, int k, int i, int32_t bar, List<int32_t>& out) const {
  const Image& image = images_[i];
  if (bar < 0) return put_cell(out, image.oldest, -1, -1);
  const Pair& pair = image.pairs[k][bar];
  if (k == 0) {
    put_cell(out, static_cast<int32_t>(pair.birth), -1, -1);
    return put_cell(out, image.elders[bar], -1, -1);
  }
  List<uint32_t>& cells = cycles.found;
  if (k == top_) {
    cycles.surround({grid_, image.key.data()}, pair.birth, static_cast<int32_t>(pair.death), cells);
  } else {
    cells.clear();
    for (int64_t j = bar == 0 ? 0 : image.loop_ends[bar - 1]; j < image.loop_ends[bar]; ++j)
      cells.push(image.loops[j]);
    cycles.close(side(i), cells);
  }
  for (const uint32_t cell : cells) {
    const int32_t v = static_cast<int32_t>(cell >> 2);
    const int type = static_cast<int>(cell & 3);
    if (k == 1)
      put_cell(out, v, type, -1);
    else
      put_cell(out, v, other_axis(type, 0), other_axis(type, 1));
  }
}

}  // namespace surprisal::betti_matching
