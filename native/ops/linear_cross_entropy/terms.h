// The softmax of a row, a few logits at a time: sums without the target, relative to the largest z
// so far, and dz from a row's coefficients. The same for every kind of tile; after
// softmax_terms.h of the CPU form.
#pragma once
#include <cmath>
#include <limits>

#include "cuda/fast_map.h"
#include "cuda/logit_map.h"
#include "ops/linear_cross_entropy/device.h"

namespace surprisal::linear_cross_entropy {

template <class A>
constexpr A kNone = -std::numeric_limits<A>::infinity();

template <class A>
inline __device__ A larger(A a, A b) {  // a NaN in a is passed over
  return a > b ? a : b;
}

// How e^x and the logit map are computed: in the accumulator's own precision, ...
template <class A>
struct ExactMath {
  using Map = cuda::DeviceMap<A>;
  static __device__ A exp(A x) { return std::exp(x); }
};
// ... or where x is a sum of products of 16-bit floats, in few instructions: e^x to 3 ulp and |x|
// 2^-24 of it, a cap to 2^-22 of its height.
struct FastMath {
  using Map = cuda::FastMap;
  static __device__ float exp(float x) { return cuda::exp2_fast(x * cuda::kLog2E); }
};

template <class A, class Math = ExactMath<A>>
struct RowSoFar {
  A max = kNone<A>, others = 0, extra = 0;

  // z of E classes; w their weights (1 without class weights), 0 outside of the classes, where z is
  // -inf; `before` the sum of those that this row was given until now; `own` the target's place
  // among them, or none; `place` of the first in the span, the others being place(e) further.
  template <bool kPlain, int E, class Place>
  __device__ void add(const A (&z)[E], int own, Extra ask, const A (&w)[E], A before, int first,
                      Place place) {
    if (!kPlain && ask == Extra::largest) {
#pragma unroll
      for (int e = 0; e < E; ++e) {
        if (!(z[e] > max)) continue;
        max = z[e];
        others = static_cast<A>(first + place(e));
      }
      return;
    }
    A m = max;
#pragma unroll
    for (int e = 0; e < E; ++e) m = larger(z[e], m);
    const A shift = m == kNone<A> ? A(0) : m;
    const A scale = Math::exp(max - shift);
    if (!kPlain && ask == Extra::entropy)
      extra = max == kNone<A> ? A(0) : scale * (extra + (max - shift) * others);
    if (!kPlain && ask == Extra::below && max != kNone<A>) extra += (shift - max) * before;
    others *= scale;
#pragma unroll
    for (int e = 0; e < E; ++e) {
      const A d = z[e] - shift;
      const A share = e == own ? A(0) : Math::exp(d);
      others += share;
      if (kPlain) continue;
      if (ask == Extra::entropy && share != 0) extra += share * d;
      if (ask == Extra::below && w[e] != 0) extra -= d * w[e];
      if (ask == Extra::total && w[e] != 0) extra += z[e];
    }
    max = m;
  }

  // Of other classes of the same row; weights are those of the classes that each was given.
  __device__ void merge(const RowSoFar& o, Extra ask, A weight, A o_weight) {
    if (ask == Extra::largest) {
      const bool better = o.max > max || (o.max == max && o.others < others);
      max = better ? o.max : max;
      others = better ? o.others : others;
      return;
    }
    const A m = larger(o.max, max);
    const A shift = m == kNone<A> ? A(0) : m;
    extra = part(ask, shift, weight) + o.part(ask, shift, o_weight);
    others = others * Math::exp(max - shift) + o.others * Math::exp(o.max - shift);
    max = m;
  }

 private:
  // `extra` relative to another maximum.
  __device__ A part(Extra ask, A shift, A weight) const {
    if (ask == Extra::entropy)
      return max == kNone<A> ? A(0) : Math::exp(max - shift) * (extra + (max - shift) * others);
    if (ask == Extra::below && max != kNone<A>) return extra + (shift - max) * weight;
    return extra;
  }
};

// dz/dx, x being the logit before the map. dz of the target goes to `own`, and 0 comes back.
template <class A, class Math = ExactMath<A>>
struct SlopeTerms {
  typename Math::Map map;
  bool general, own_from_z;

  __device__ explicit SlopeTerms(const SlopesWork& work)
      : map(work.z.map), general(work.general), own_from_z(work.own_from_z) {}

  __device__ A slope(const Slope<A>& row, A x, A class_weight) const {
    A steep;
    const A d = map.value(x, &steep) - row.max;
    const A e = Math::exp(d);
    A dz = e * row.p;
    bool dead = row.p == 0;
    if (general) {
      dz = (e == 0 ? A(0) : dz + e * (row.q * d)) - row.w * class_weight;
      // A logit of -inf moves nothing, whatever smoothing asks of it.
      if (d == kNone<A>) dz = 0;
      dead = dead && row.q == 0 && row.w == 0;
    }
    return dead ? A(0) : dz * steep;
  }
  __device__ A own(const Slope<A>& row, A x) const {
    A steep;
    const A z = map.value(x, &steep);
    return (own_from_z ? row.p * std::expm1(z - row.max) : row.own) * steep;
  }
};

// The steepest dz/dx.
template <class A>
inline SP_HOST_DEVICE A steepest(const LogitMap& map) {
  return static_cast<A>(map.capped ? map.in * map.out : map.in);
}

template <class A>
inline __device__ TileSums<A>* tile_sums_at(const StatesWork& work, int64_t n, int64_t column) {
  return static_cast<TileSums<A>*>(work.tile_sums) + column / kFilterColumns * work.tile_stride + n;
}

template <class A>
inline __device__ Slope<A> load_slope(const void* slopes, int64_t n) {
  const auto* s = static_cast<const Slope<A>*>(slopes) + n;
  return {cuda::load(&s->max), cuda::load(&s->p),   cuda::load(&s->q),
          cuda::load(&s->w),   cuda::load(&s->own), cuda::load(&s->target)};
}

}  // namespace surprisal::linear_cross_entropy
