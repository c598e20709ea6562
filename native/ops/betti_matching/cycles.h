// Cycles that represent the bars of a barcode: born with the bar, not before, and the boundary of
// something when it dies, not before.
//   the highest degree: the faces around the component of top cells that joins an older one across
//     the face of the birth (what the dual graph pairs);
//   loops in volumes: the reduced column of the square of the death, which the reduction keeps
//     without the edges that vertices hang by. Those are a forest, so its ends have one completion.
#pragma once
#include "ops/betti_matching/columns.h"

namespace surprisal::betti_matching {

// Memory of one thread.
class Cycles {
 public:
  // The faces, sorted, around the component of `dead` when it meets an older one across `birth`.
  void surround(const Cells& cells, uint32_t birth, int32_t dead, List<uint32_t>& faces);
  // Adds to the edges of a loop those that vertices hang by, and sorts them.
  void close(const Side& side, List<uint32_t>& loop);

  List<uint32_t> found;  // for callers

 private:
  List<int32_t> seen_;  // by position, the number of the last component that had it
  int32_t count_ = 0;
  List<int32_t> members_;
  List<uint64_t> ends_;  // a heap of vertices
};

}  // namespace surprisal::betti_matching
