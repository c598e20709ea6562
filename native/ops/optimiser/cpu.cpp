#include "ops/optimiser/op.h"

#include "ops/optimiser/check.h"

#define SURPRISAL_BODY "ops/optimiser/kernels.h"
#include "cpu/foreach_target.h"

namespace surprisal::optimiser {

void sgd_cpu(const Sgd& op) {
  check(op);
  SURPRISAL_DISPATCH(optimiser::sgd, op);
}

void adam_cpu(const Adam& op) {
  check(op);
  SURPRISAL_DISPATCH(optimiser::adam, op);
}

void set_rates_cpu(const SetRates& op) {
  require(op.out.size == 4, "optimiser: 4 rates");
  const Rates rates = rates_of(op.lr, op.beta1, op.beta2, op.weight_decay, op.step);
  std::memcpy(op.out.as<double>(), &rates, sizeof rates);
}

void refresh_cpu(const Refresh& op) {
  check(op);
  SURPRISAL_DISPATCH(optimiser::refresh, op);
}

void square_sum_cpu(const SquareSum& op) {
  check_number(op.out);
  SURPRISAL_DISPATCH(optimiser::square_sum, op);
}

void clip_factor_cpu(const ClipFactor& op) {
  check(op);
  const double norm = std::sqrt(*op.square_sum.as<double>());
  visit_float(op.norm.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    *op.norm.as<T>() = element_of<T>(norm);
  });
  *op.factor.as<double>() = op.max_norm / (norm + 1e-6);
}

void scale_cpu(const Scale& op) {
  check(op);
  SURPRISAL_DISPATCH(optimiser::scale, op);
}

}  // namespace surprisal::optimiser
