#include "core/simple_points.h"

#include <cstdlib>

namespace surprisal {

Neighbourhoods::Neighbourhoods() {
  const auto steps = [](int a, int b) {
    return std::abs(a / 9 - b / 9) + std::abs(a / 3 % 3 - b / 3 % 3) + std::abs(a % 3 - b % 3);
  };
  const auto apart = [](int a, int b) {
    return std::abs(a / 9 - b / 9) > 1 || std::abs(a / 3 % 3 - b / 3 % 3) > 1 ||
           std::abs(a % 3 - b % 3) > 1;
  };
  for (int a = 0; a < 27; ++a) {
    touching_[a] = joined_[a] = 0;
    for (int b = 0; b < 27; ++b) {
      if (a == b) continue;
      if (!apart(a, b)) touching_[a] |= 1u << b;
      if (steps(a, b) == 1) joined_[a] |= 1u << b;
    }
    if (steps(a, 13) == 1) faces_ |= 1u << a;
    if (a != 13 && steps(a, 13) <= 2) near_ |= 1u << a;
  }
  constexpr uint32_t plane = 0x1FFu << 9;
  for (uint32_t code = 0; code < 512; ++code) {
    const uint32_t object = (code << 9) & ~kMiddle;
    const bool is_simple = one_component(object, touching_) &&
                           one_touching_component(~object & near_ & plane, joined_, faces_);
    if (is_simple) plane_[code >> 5] |= 1u << (code & 31);
  }
}

const Neighbourhoods& Neighbourhoods::table() {
  static const Neighbourhoods one;
  return one;
}

}  // namespace surprisal
