// The steps of a pass, one of each dtype: float32 and float64 by FMA through a stored chunk of z
// (plain.h), 16-bit floats on tensor cores (tensor_cores.h, products.h).
#pragma once
#include "ops/linear_cross_entropy/device.h"

namespace surprisal::linear_cross_entropy {

#define SP_STEPS(kind)                                                 \
  void states_##kind(const StatesWork&, const Tiles&, cuda::Stream&);  \
  void slopes_##kind(const SlopesWork&, const Tiles&, cuda::Stream&);  \
  void product_x_##kind(const ProductX&, const Tiles&, cuda::Stream&); \
  void product_w_##kind(const ProductW&, const Tiles&, cuda::Stream&);
SP_STEPS(f32)
SP_STEPS(f64)
SP_STEPS(f16)
SP_STEPS(bf16)
#undef SP_STEPS

}  // namespace surprisal::linear_cross_entropy
