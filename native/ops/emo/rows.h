// What a call says of its rows: labels, rules, weights.
#pragma once
#include <string>

#include "core/token_mean.h"
#include "ops/emo/op.h"
#include "ops/emo/row.h"

namespace surprisal::emo {

// The class of each row, -1 for ignored ones.
inline void find_labels(const Rules& op, const char* name, int64_t* label) {
  visit_index(op.target.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (int64_t n = 0; n < op.rows; ++n) {
      const int64_t y = op.target.as<T>()[n];
      label[n] = y == op.ignore_index ? -1 : y;
      if (y == op.ignore_index || (y >= 0 && y < op.classes)) continue;
      throw Error(Code::out_of_range, std::string(name) + ": expected target in [0, " +
                                          std::to_string(op.classes) + ") or ignoreIndex " +
                                          std::to_string(op.ignore_index) + ", got " +
                                          std::to_string(y) + " at row " + std::to_string(n));
    }
  });
}

inline RowRules rules_of(const Rules& op) {
  return {static_cast<Combination>(op.combination), op.plain, op.floor, op.ceiling};
}

}  // namespace surprisal::emo
