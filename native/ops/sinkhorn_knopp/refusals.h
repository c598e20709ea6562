// What is said of numbers that cannot be scaled, of the CPU's and of a device's.
#pragma once
#include <cstdint>
#include <string>

#include "core/check.h"

namespace surprisal::sinkhorn_knopp {

[[noreturn]] inline void refuse_sum(const char* what, double x, int64_t at) {
  throw Error(Code::invalid_value, std::string("sinkhornKnopp: expected ") + what +
                                       " to hold finite numbers that are not negative, got " +
                                       std::to_string(x) + " at " + std::to_string(at));
}
[[noreturn]] inline void refuse_entry(double x, int64_t at) {
  throw Error(Code::invalid_value,
              "sinkhornKnopp: expected a matrix without negative numbers, got " +
                  std::to_string(x) + " at " + std::to_string(at));
}

}  // namespace surprisal::sinkhorn_knopp
