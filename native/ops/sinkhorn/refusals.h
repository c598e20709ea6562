// How bad values are worded, on the CPU and for faults of a device.
#pragma once
#include <cstdint>
#include <string>

#include "ops/sinkhorn/op.h"

namespace surprisal::sinkhorn {

// `caller` as in Problem; `problem` is negative in a batch of one.
const char* name_of(int32_t caller);
[[noreturn]] void refuse_weight(int32_t caller, bool second, double w, int64_t i);
[[noreturn]] void refuse_no_mass(int32_t caller, bool second, int64_t problem);
[[noreturn]] void refuse_masses(int32_t caller, double a, double b, int64_t problem);
[[noreturn]] void refuse_point(int32_t caller, bool second, double v, int64_t i);
[[noreturn]] void refuse_label(int32_t caller, bool second, int32_t label, int64_t labels,
                               int64_t i);
[[noreturn]] void refuse_label_cost(int32_t caller, double w);
[[noreturn]] void refuse_cost(int32_t caller, double c, int64_t i, int64_t j, int64_t problem);
[[noreturn]] void refuse_schedule(int32_t caller, double steps, int64_t most);

}  // namespace surprisal::sinkhorn
