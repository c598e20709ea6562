// What both devices refuse before they touch anything.
#pragma once
#include "ops/optimiser/op.h"

namespace surprisal::optimiser {

inline bool has_master(DType t) { return t == DType::bf16 || t == DType::f16; }
inline DType state_dtype(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

inline void check_state(const Views& state, const Views& params, DType dtype) {
  require(state.size() == params.size(), "optimiser: a state for each parameter");
  for (size_t i = 0; i < params.size(); ++i)
    require(state[i] && state[i].size == params[i].size && state[i].dtype == dtype,
            "optimiser: the state's shape");
}
inline void check_update(const Views& params, const Views& grads, const Views& masters,
                         const View& rates) {
  require(!params.empty() && grads.size() == params.size(), "optimiser: a gradient a parameter");
  const DType dtype = params[0].dtype;
  for (size_t i = 0; i < params.size(); ++i)
    require(params[i] && grads[i] && params[i].dtype == dtype && grads[i].dtype == dtype &&
                params[i].size == grads[i].size,
            "optimiser: the gradient's shape");
  require(masters.empty() == !has_master(dtype), "optimiser: a master copy for 16-bit floats only");
  if (!masters.empty()) check_state(masters, params, DType::f32);
  require(!rates || (rates.size == 4 && rates.dtype == DType::f64), "optimiser: 4 rates");
}
inline void check(const Sgd& op) {
  check_update(op.param, op.grad, op.master, op.rates);
  if (!op.buffer.empty()) check_state(op.buffer, op.param, state_dtype(op.param[0].dtype));
}
inline void check(const Adam& op) {
  check_update(op.param, op.grad, op.master, op.rates);
  check_state(op.m, op.param, state_dtype(op.param[0].dtype));
  check_state(op.v, op.param, state_dtype(op.param[0].dtype));
}
inline void check(const Refresh& op) {
  require(has_master(op.param.dtype) && op.master.dtype == DType::f32 &&
              op.master.size == op.param.size,
          "optimiser: a float32 master copy of a 16-bit parameter");
}
inline void check_number(const View& view) {
  require(view && view.size == 1 && view.dtype == DType::f64, "optimiser: a number in float64");
}
inline void check(const ClipFactor& op) {
  check_number(op.square_sum);
  check_number(op.factor);
  require(op.norm.size == 1 && (op.norm.dtype == DType::f32 || op.norm.dtype == DType::f64),
          "optimiser: the norm is a number");
}
inline void check(const Scale& op) {
  check_number(op.factor);
  require(op.a.size() == op.out.size(), "optimiser: a result for each array");
  for (size_t i = 0; i < op.a.size(); ++i)
    require(op.a[i].size == op.out[i].size && op.a[i].dtype == op.out[i].dtype,
            "optimiser: sizes differ");
}

}  // namespace surprisal::optimiser
