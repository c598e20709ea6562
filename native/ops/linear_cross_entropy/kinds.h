// The steps of a pass: float32 and float64 by FMA through a stored chunk of z (plain.h), 16-bit
// floats on tensor cores, with mma.sync (tensor_cores.h, products.h) or wgmma (wide_folds.h,
// wide_products.h). Instantiated for one dtype in a file each, which compile side by side.
#pragma once
#include "ops/linear_cross_entropy/device.h"

namespace surprisal::linear_cross_entropy {

template <class T>
void plain_states(const StatesWork& work, const Tiles& tiles, cuda::Stream& stream);
template <class T>
void plain_slopes(const SlopesWork& work, const Tiles& tiles, cuda::Stream& stream);
template <class T>
void plain_product_x(const ProductX& p, const Tiles& tiles, cuda::Stream& stream);
template <class T>
void plain_product_w(const ProductW& p, const Tiles& tiles, cuda::Stream& stream);

template <class T>
void states_by_tiles(const StatesWork& work, const Tiles& tiles, cuda::Stream& stream);
template <class T>
void slopes_by_tiles(const SlopesWork& work, const Tiles& tiles, cuda::Stream& stream);
template <class T>
void product_x_by_tiles(const ProductX& p, const Tiles& tiles, cuda::Stream& stream);
template <class T>
void product_w_by_tiles(const ProductW& p, const Tiles& tiles, cuda::Stream& stream);

template <class T>
void states_by_warpgroups(const StatesWork& work, const Tiles& tiles, cuda::Stream& stream);
template <class T>
void slopes_by_warpgroups(const SlopesWork& work, const Tiles& tiles, cuda::Stream& stream);
template <class T>
void product_x_by_warpgroups(const ProductX& p, const Tiles& tiles, cuda::Stream& stream);
template <class T>
void product_w_by_warpgroups(const ProductW& p, const Tiles& tiles, cuda::Stream& stream);

}  // namespace surprisal::linear_cross_entropy
