// Which kernel converts, and how it is launched: pure functions of sizes, tested without a GPU.
#pragma once
#include "core/view.h"

namespace surprisal::cast {

constexpr int kThreads = 256;

struct Plan {
  int pack = 1;   // elements a thread moves by one access of the wider dtype; 1: the plain kernel
  int packs = 1;  // and how many of those it has in flight
  int64_t blocks = 0;
};

// 16 bytes of the wider dtype an access, 32 or 64 bytes a thread in flight.
constexpr int packs_of(int pack) { return pack <= 4 ? 4 : 2; }

constexpr Plan plan(int64_t n, DType from, DType to, bool aligned) {
  const int64_t width = size_of(from) > size_of(to) ? size_of(from) : size_of(to);
  Plan plan;
  if (aligned) {
    plan.pack = static_cast<int>(16 / width);
    plan.packs = packs_of(plan.pack);
  }
  const int64_t each = int64_t{kThreads} * plan.pack * plan.packs;
  plan.blocks = (n + each - 1) / each;
  return plan;
}

}  // namespace surprisal::cast
