// What the kernels on tensor cores do with a tile's float32 sums in registers, whichever product
// left them there. A Fragment is what one thread has: kSlots rows of kPairs pairs of neighbouring
// columns, pair j being 8 j further than pair 0; quads of lanes share rows.
#pragma once
#include "cuda/gemm.h"
#include "ops/linear_cross_entropy/target_sums.h"
#include "ops/linear_cross_entropy/terms.h"

// Not for sm_75: what stands in for its missing tensor cores (cuda/ptx_sm75.h) spills beside these.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define SP_LINEAR_FRAGMENTS
#endif

namespace surprisal::linear_cross_entropy {

using TileRow = RowSoFar<float, FastMath>;

// What is known of the logit map when a kernel is compiled.
enum class Cap { none, some, unknown };

template <Cap cap>
__device__ inline float mapped(const cuda::FastMap& map, float x) {
  float slope;
  return cap == Cap::none   ? map.in * x
         : cap == Cap::some ? map.capped_value(x, &slope)
                            : map.value(x);
}

// Of cuda/gemm.h's mma.sync tiles.
template <class Tile>
struct Fragment {
  static constexpr int kSlots = 2 * Tile::kRowTiles, kPairs = Tile::kColumnTiles;
  cuda::gemm::Accumulators<Tile> sums;

  __device__ float& at(int slot, int pair, int e) {
    return sums.at[slot / 2][pair][slot % 2 * 2 + e];
  }
  __device__ static int row(int slot) {
    return cuda::warp_index() / Tile::kWarpsN * Tile::kWarpM + cuda::lane_index() / 4 + 8 * slot;
  }
  __device__ static int column() {  // of pair 0
    return cuda::warp_index() % Tile::kWarpsN * Tile::kWarpN + cuda::lane_index() % 4 * 2;
  }
};

// Bias and class weight of a class, or what counts outside of the classes.
template <class T>
struct Classes {
  const T* bias;
  const float* weight;
  int64_t count;

  __device__ explicit Classes(const Logits& z)
      : bias(static_cast<const T*>(z.bias)),
        weight(static_cast<const float*>(z.class_weight)),
        count(z.classes) {}
  // How many classes there are from `first` on, of those that a tile may have.
  __device__ int left(int64_t first) const {
    const int64_t n = count - first;
    return static_cast<int>(n < 1024 ? n : 1024);
  }
  __device__ float bias_of(int64_t c) const {
    return bias && c < count ? to_float(cuda::load(bias + c)) : 0.0f;
  }
  __device__ float weight_of(int64_t c) const {
    return c >= count ? 0.0f : weight ? cuda::load(weight + c) : 1.0f;
  }
  // Of a lane's columns from `first` on. A branch for all of them, not a condition for each, which
  // would take registers.
  template <int E>
  __device__ void load_biases(int64_t first, float (&to)[E]) const {
#pragma unroll
    for (int e = 0; e < E; ++e) to[e] = 0;
    if (!bias) return;
#pragma unroll
    for (int e = 0; e < E; ++e) to[e] = bias_of(first + e / 2 * 8 + e % 2);
  }
  template <int E>
  __device__ void load_weights(int64_t first, float (&to)[E]) const {
#pragma unroll
    for (int e = 0; e < E; ++e) to[e] = weight_of(first + e / 2 * 8 + e % 2);
  }
};

// Which of a lane's 2 Pairs columns is `ahead` of its first; -1 if none. They are those that leave
// 0 or 1 when divided by 8.
template <int Pairs>
__device__ inline int place_in_group(int64_t ahead) {
  const bool here = ahead >= 0 && ahead < 8 * Pairs && ahead % 8 < 2;
  return here ? static_cast<int>(ahead / 8 * 2 + ahead % 2) : -1;
}

// Adds a tile's logits, the first of which is class `column`, to the thread's rows. target(slot)
// gives a row's; `weights` are the class weights of earlier tiles. kPlain: no extras are asked for.
template <class T, bool kPlain, Cap cap, class Fragment, class Target>
__device__ inline void add_states(Fragment& f, TileRow (&rows)[Fragment::kSlots],
                                  const StatesWork& work, Target&& target, int64_t first_row,
                                  int64_t column, int64_t span_begin, float* weights) {
  constexpr int kGroup = 4, E = 2 * kGroup;  // pairs at a time
  const Classes<T> classes(work.z);
  const cuda::FastMap map(work.z.map);
#pragma unroll
  for (int g = 0; g < Fragment::kPairs; g += kGroup) {
    const int64_t first = column + Fragment::column() + 8 * g;
    const int left = classes.left(first);
    float bias[E], w[E], sum = 0;
    classes.load_biases(first, bias);
#pragma unroll
    for (int e = 0; e < E; ++e) w[e] = 1;
    if (!kPlain) classes.load_weights(first, w);
#pragma unroll
    for (int e = 0; e < E; ++e) sum += w[e];
#pragma unroll
    for (int s = 0; s < Fragment::kSlots; ++s) {
      float z[E];
#pragma unroll
      for (int e = 0; e < E; ++e) {
        const float x = f.at(s, g + e / 2, e % 2) + bias[e];
        z[e] = mapped<cap>(map, x);
        if (e / 2 * 8 + e % 2 >= left) z[e] = kNone<float>;
      }
      const int at = place_in_group<kGroup>(target(s) - first);
      if (at >= 0) {
#pragma unroll
        for (int e = 0; e < E; ++e)
          if (e == at)
            cuda::store(static_cast<float*>(work.target_z) + first_row + Fragment::row(s), z[e]);
      }
      rows[s].template add<kPlain>(z, at, work.extra, w, *weights,
                                   static_cast<int>(first - span_begin),
                                   [](int e) { return e / 2 * 8 + e % 2; });
    }
    if (!kPlain) *weights += sum;
  }
}

// Rounds a lane's four pairs of columns, 8 columns apart, and stores them with the rest of its
// quad's: lane l of it pair l of each lane, 8 neighbouring columns, in 16 bytes at its `to`, unless
// those are not `inside`. All lanes of a warp take part.
template <class T>
__device__ inline void store_quad(T* to, const float (&x)[8], bool inside) {
  uint32_t word[4];
#pragma unroll
  for (int j = 0; j < 4; ++j)
    word[j] = uint32_t{from_float<T>(x[2 * j]).bits} | uint32_t{from_float<T>(x[2 * j + 1]).bits}
                                                           << 16;
  cuda::gemm::transpose_quad(word);
  if (inside)
    cuda::store(reinterpret_cast<cuda::Pack<uint32_t, 4>*>(to),
                cuda::Pack<uint32_t, 4>{{word[0], word[1], word[2], word[3]}});
}

__device__ inline void add_tile_sums(float* max, float* mass, float more_max, float more_mass) {
  const float m = larger(more_max, *max), shift = m == kNone<float> ? 0.0f : m;
  *mass = *mass * FastMath::exp(*max - shift) + more_mass * FastMath::exp(more_max - shift);
  *max = m;
}

// What is stored of a tile of kStoredTile columns (StoredRows), relative to the largest z of the
// row so far in the span, this tile's included. All lanes of a warp take part.
template <class T, Cap cap, class Fragment, class Target>
__device__ inline void put_exponentials(Fragment& f, const TileRow (&rows)[Fragment::kSlots],
                                        const StatesWork& work, Target&& target, int64_t first_row,
                                        int64_t column) {
  constexpr int kGroup = 4, E = 2 * kGroup;  // pairs at a time
  static_assert(Fragment::kPairs * 8 == kStoredTile, "a tile");
  const Classes<T> classes(work.z);
  const cuda::FastMap map(work.z.map);
  const StoredRows& to = work.stored;
  const int64_t live = work.z.wave.live(), most = live < to.rows ? live : to.rows;
#pragma unroll
  for (int s = 0; s < Fragment::kSlots; ++s) {
    const int64_t n = first_row + Fragment::row(s);
    float m = rows[s].max;
#pragma unroll
    for (int step = 1; step <= 2; step *= 2) m = larger(cuda::shuffle_xor(m, step), m);
    if (n < most && cuda::lane_index() % 4 == 0)
      cuda::store(to.largest + n * to.tiles + column / kStoredTile, m);
    const float shift = m == kNone<float> ? 0.0f : m;
    auto* row = static_cast<Float16*>(to.exponentials) + n * to.stride + column +
                cuda::lane_index() % 4 * 8;
#pragma unroll
    for (int g = 0; g < Fragment::kPairs; g += kGroup) {
      const int64_t first = column + Fragment::column() + 8 * g;
      const int left = classes.left(first), own = place_in_group<kGroup>(target(s) - first);
      float bias[E], share[E];
      classes.load_biases(first, bias);
#pragma unroll
      for (int e = 0; e < E; ++e) {
        const float x = f.at(s, g + e / 2, e % 2) + bias[e];
        float slope = 1;
        const float z = cap == Cap::some ? map.capped_value(x, &slope) : map.in * x;
        share[e] = cuda::exp2_fast((z - shift) * cuda::kLog2E + kStoredExponent) * slope;
        if (e / 2 * 8 + e % 2 >= left || e == own) share[e] = 0;
      }
      store_quad(row + 8 * g, share, n < most);
    }
  }
}

// TileSums of a fragment's columns, by parts of kFilterColumns where it has more: put(slot, part,
// sums) by the first lane of each quad. A second look at the logits, after their states were added:
// those must have the same bits whether or not there is a filter.
template <class T, Cap cap, class Fragment, class Target, class Put>
__device__ inline void fold_tile_sums(Fragment& f, const StatesWork& work, Target&& target,
                                      int64_t column, Put&& put) {
  constexpr int kGroup = 4, E = 2 * kGroup;  // pairs at a time
  constexpr int kPart = Fragment::kPairs * 8 > kFilterColumns ? static_cast<int>(kFilterColumns) / 8
                                                              : Fragment::kPairs;
  const Classes<T> classes(work.z);
  const cuda::FastMap map(work.z.map);
#pragma unroll
  for (int s = 0; s < Fragment::kSlots; ++s) {
#pragma unroll
    for (int part = 0; part < Fragment::kPairs / kPart; ++part) {
      float max = kNone<float>, mass = 0;
#pragma unroll
      for (int g = part * kPart; g < (part + 1) * kPart; g += kGroup) {
        const int64_t first = column + Fragment::column() + 8 * g;
        const int left = classes.left(first), own = place_in_group<kGroup>(target(s) - first);
        float bias[E], z[E], slope[E], m = max;
        classes.load_biases(first, bias);
#pragma unroll
        for (int e = 0; e < E; ++e) {
          const float x = f.at(s, g + e / 2, e % 2) + bias[e];
          slope[e] = 1;
          z[e] = cap == Cap::some || (cap == Cap::unknown && map.capped)
                     ? map.capped_value(x, slope + e)
                     : map.in * x;
          if (e / 2 * 8 + e % 2 >= left || e == own) z[e] = kNone<float>;
          m = larger(z[e], m);
        }
        const float shift = m == kNone<float> ? 0.0f : m;
        mass *= FastMath::exp(max - shift);
#pragma unroll
        for (int e = 0; e < E; ++e) mass += FastMath::exp(z[e] - shift) * slope[e];
        max = m;
      }
#pragma unroll
      for (int step = 1; step <= 2; step *= 2)
        add_tile_sums(&max, &mass, cuda::shuffle_xor(max, step), cuda::shuffle_xor(mass, step));
      if (cuda::lane_index() % 4 == 0) put(s, part, TileSums<float>{max, mass});
    }
  }
}

// The lanes of a quad have the same rows.
template <int kSlots>
__device__ inline void merge_quad(TileRow (&rows)[kSlots], Extra extra, float* weights) {
#pragma unroll
  for (int step = 1; step <= 2; step *= 2) {
    const float other_weights = cuda::shuffle_xor(*weights, step);
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
      // The lower lane's columns first, in both lanes. Field by field: a choice of structs would
      // go through memory.
      const bool high = (cuda::lane_index() & step) != 0;
      const float max = cuda::shuffle_xor(rows[s].max, step);
      const float others = cuda::shuffle_xor(rows[s].others, step);
      const float extra_sum = cuda::shuffle_xor(rows[s].extra, step);
      const TileRow upper{high ? rows[s].max : max, high ? rows[s].others : others,
                          high ? rows[s].extra : extra_sum};
      rows[s].max = high ? max : rows[s].max;
      rows[s].others = high ? others : rows[s].others;
      rows[s].extra = high ? extra_sum : rows[s].extra;
      rows[s].merge(upper, extra, high ? other_weights : *weights, high ? *weights : other_weights);
    }
    *weights += other_weights;
  }
}

// dz of a tile at class `column`, to memory; its rows begin at row `first_row` of the wave. All
// lanes of a warp take part.
template <class T, class Fragment>
__device__ inline void put_slopes(Fragment& f, const SlopesWork& work, int64_t first_row,
                                  int64_t column) {
  constexpr int kGroup = 4, E = 2 * kGroup;
  const Classes<T> classes(work.z);
  const SlopeTerms<float, FastMath> terms(work);
  const float unit = work.unit ? cuda::load(work.unit) : 1.0f;
  const int64_t live = work.z.wave.live();
  constexpr int kParts = Fragment::kPairs * 8 > kFilterColumns ? 2 : 1;
  bool kept[kParts];
#pragma unroll
  for (int part = 0; part < kParts; ++part)
    kept[part] = work.keep.kept(first_row, column + part * kFilterColumns);
#pragma unroll
  for (int s = 0; s < Fragment::kSlots; ++s) {
    const int64_t n = first_row + Fragment::row(s);
    Slope<float> row{};
    row.target = -1;
    if (n < live) row = load_slope<float>(work.slopes, n);
#pragma unroll
    for (int g = 0; g < Fragment::kPairs; g += kGroup) {
      const int64_t first = column + Fragment::column() + 8 * g;
      const int left = classes.left(first);
      const int at_own = place_in_group<kGroup>(row.target - first);
      float bias[E], w[E], dz[E], own = 0;
      classes.load_biases(first, bias);
#pragma unroll
      for (int e = 0; e < E; ++e) w[e] = 1;
      if (terms.general) classes.load_weights(first, w);
#pragma unroll
      for (int e = 0; e < E; ++e) {
        const float x = f.at(s, g + e / 2, e % 2) + bias[e];
        dz[e] = kept[g * 8 / kFilterColumns] && e / 2 * 8 + e % 2 < left
                    ? terms.slope(row, x, w[e]) * unit
                    : 0.0f;
        if (e != at_own) continue;
        own = x;
        dz[e] = 0;
      }
      if (at_own >= 0) cuda::store(static_cast<float*>(work.own_dz) + n, terms.own(row, own));
      const int64_t at =
          first - cuda::lane_index() % 4 * 2 - work.column + cuda::lane_index() % 4 * 8;
      store_quad(static_cast<T*>(work.dz) + n * work.stride + at, dz,
                 n < work.z.wave.rows && at < work.stride);
    }
  }
}

// Sums of dx, to and from memory; rows have room for whole tiles of 8 features.
template <class Fragment, class F>
__device__ inline void each_pair(Fragment& f, int64_t first_row, int64_t first_column, F&& take) {
#pragma unroll
  for (int s = 0; s < Fragment::kSlots; ++s)
#pragma unroll
    for (int j = 0; j < Fragment::kPairs; ++j)
      take(first_row + Fragment::row(s), first_column + Fragment::column() + 8 * j, f.at(s, j, 0),
           f.at(s, j, 1));
}

template <class Fragment>
__device__ inline void load_sums(Fragment& f, const ProductX& p, int64_t row, int64_t column) {
  each_pair(f, row, column, [&](int64_t n, int64_t d, float& a, float& b) {
    const bool inside = p.carry && n < p.wave.rows && d < p.sums_stride;
    const auto* from = static_cast<const float*>(p.sums) + n * p.sums_stride + d;
    cuda::Pack<float, 2> sums{};
    if (inside) sums = cuda::load(reinterpret_cast<const cuda::Pack<float, 2>*>(from));
    a = sums.at[0];
    b = sums.at[1];
  });
}
template <class Fragment>
__device__ inline void store_sums(Fragment& f, const ProductX& p, int64_t row, int64_t column) {
  each_pair(f, row, column, [&](int64_t n, int64_t d, float& a, float& b) {
    if (n >= p.wave.rows || d >= p.sums_stride) return;
    auto* to = static_cast<float*>(p.sums) + n * p.sums_stride + d;
    cuda::store(reinterpret_cast<cuda::Pack<float, 2>*>(to), cuda::Pack<float, 2>{{a, b}});
  });
}

template <class T, class Fragment>
__device__ inline void put_weights(Fragment& f, const ProductW& p, int64_t row, int64_t column) {
  constexpr int kGroup = 4, E = 2 * kGroup;  // pairs at a time
#pragma unroll
  for (int s = 0; s < Fragment::kSlots; ++s) {
    const WeightRow<T> to(p, row + Fragment::row(s));
#pragma unroll
    for (int g = 0; g < Fragment::kPairs; g += kGroup) {
      float x[E];
#pragma unroll
      for (int e = 0; e < E; ++e) x[e] = f.at(s, g + e / 2, e % 2);
      to.put(x, column + Fragment::column() + 8 * g, [](int e) { return e / 2 * 8 + e % 2; });
    }
  }
}

}  // namespace surprisal::linear_cross_entropy
