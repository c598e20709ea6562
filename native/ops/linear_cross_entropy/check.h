// The facts that the CPU and the CUDA forms assert, and how they word what only values show.
#pragma once
#include <string>

#include "ops/linear_cross_entropy/op.h"

namespace surprisal::linear_cross_entropy {

void check_linear(const Linear& op, const char* name);
void check_targets(const Scored& op, const char* name);
void check_gradients(const Linear& op, const Gradients& to, const char* name);
void check_loss(const Loss& op);
void require_workspace(const char* name, int64_t minimum, int64_t given);

// `classes` 0: the classes of all shards, whose number is not known here.
[[noreturn]] void refuse_target(const char* name, int64_t value, int64_t row, int64_t classes,
                                int64_t ignore_index);
[[noreturn]] void refuse_class_weight(double value, int64_t at);
[[noreturn]] void refuse_token_weight(int64_t row);
std::string text_of(double x);

}  // namespace surprisal::linear_cross_entropy
