#include "ops/sinkhorn/refusals.h"

#include "core/measures.h"

namespace surprisal::sinkhorn {

const char* name_of(int32_t caller) {
  return caller == 0 ? "sinkhornDivergence" : caller == 1 ? "sinkhornPotentials" : "sinkhorn";
}

void refuse_weight(int32_t caller, bool second, double w, int64_t i) {
  surprisal::refuse_weight(name_of(caller), second ? "b" : "a", w, i);
}
void refuse_no_mass(int32_t caller, bool second, int64_t problem) {
  surprisal::refuse_no_mass(name_of(caller), second ? "b" : "a", problem);
}
void refuse_masses(int32_t caller, double a, double b, int64_t problem) {
  const char* relax = caller == 2 ? "rhoA or rhoB" : "reach";
  surprisal::refuse_masses(name_of(caller), a, b, relax, problem);
}
void refuse_point(int32_t caller, bool second, double v, int64_t i) {
  surprisal::refuse_point(name_of(caller), second ? "y" : "x", v, i);
}
void refuse_label(int32_t caller, bool second, int32_t label, int64_t labels, int64_t i) {
  throw Error(Code::out_of_range, std::string(name_of(caller)) + ": expected " +
                                      (second ? "labelsY" : "labelsX") + " in [0, " +
                                      std::to_string(labels) + "), got " + std::to_string(label) +
                                      " at " + std::to_string(i));
}
void refuse_label_cost(int32_t caller, double w) {
  refuse(name_of(caller), "expected labelCost to hold finite numbers, got " + text_of(w));
}
void refuse_cost(int32_t caller, double c, int64_t i, int64_t j, int64_t problem) {
  refuse(name_of(caller), "expected cost to hold finite numbers, got " + text_of(c) + " at [" +
                              (problem < 0 ? "" : std::to_string(problem) + ", ") +
                              std::to_string(i) + ", " + std::to_string(j) + "]");
}
void refuse_schedule(int32_t caller, double steps, int64_t most) {
  refuse(name_of(caller),
         "expected the schedule of blur and scaling to have at most maxIterations = " +
             std::to_string(most) + " steps, got " + text_of(steps));
}

}  // namespace surprisal::sinkhorn
