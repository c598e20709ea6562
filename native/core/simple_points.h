// Which voxels can be deleted without a change of topology, from the 26 (or 8) about them. Bit
// (dz + 1) 9 + (dy + 1) 3 + dx + 1 of a neighbourhood is the voxel at (dz, dy, dx); bit 13 is the
// middle. The object is joined across corners, the background across faces alone.
#pragma once
#include <cstdint>

namespace surprisal {

class Neighbourhoods {
 public:
  static const Neighbourhoods& table();

  bool simple(uint32_t object) const {
    object &= ~kMiddle;
    return one_component(object, touching_) &&
           one_touching_component(~object & near_, joined_, faces_);
  }
  // In a plane; bits 9 to 17 alone are read.
  bool simple_in_plane(uint32_t object) const {
    const uint32_t code = (object >> 9) & 0x1FF;
    return (plane_[code >> 5] >> (code & 31)) & 1;
  }
  static bool ends_line(uint32_t object) { return __builtin_popcount(object & ~kMiddle) == 1; }

 private:
  static constexpr uint32_t kMiddle = 1u << 13;

  Neighbourhoods();
  static uint32_t component(uint32_t of, uint32_t seed, const uint32_t* neighbours) {
    uint32_t found = seed, fresh = seed;
    while (fresh) {
      uint32_t next = 0;
      for (uint32_t rest = fresh; rest; rest &= rest - 1) next |= neighbours[__builtin_ctz(rest)];
      fresh = next & of & ~found;
      found |= fresh;
    }
    return found;
  }
  static bool one_component(uint32_t of, const uint32_t* neighbours) {
    return of && component(of, of & -of, neighbours) == of;
  }
  // Of components that hold none of `faces` there may be any number.
  static bool one_touching_component(uint32_t of, const uint32_t* neighbours, uint32_t faces) {
    const uint32_t at = of & faces;
    return at && (component(of, at & -at, neighbours) & faces) == at;
  }

  uint32_t touching_[27], joined_[27];  // of each voxel: those at its corners, at its faces
  uint32_t faces_ = 0, near_ = 0;       // the six, and the eighteen with an edge in common
  uint32_t plane_[16] = {};
};

}  // namespace surprisal
