// What the pairs of a crop cost, by one warp: pairs q, q + 32, ... are lane q % 32's, the partial
// sums those of terms.h. The gradient of the crop is held in shared memory; lanes that add to the
// same voxel take turns in their order.
#pragma once
#include "ops/betti_matching/device_walk.h"

namespace surprisal::betti_matching {

// The end of a pair, as a position.
template <bool kDual>
__device__ inline int birth_position(const Block& b, int i, uint32_t pair);
template <bool kDual>
__device__ inline int death_position(const Block& b, int i, uint32_t pair);

// Among equal vertices an edge takes its value from the far one.
__device__ inline int position_of_edge(const uint16_t* key, int edge, int up) {
  const int near = edge >> 1, far = near + (edge & 1 ? 1 : up);
  return load(key + far) >= load(key + near) ? far : near;
}
// A square from the farthest.
__device__ inline int position_of_square(const uint16_t* key, int v, int up) {
  const int value = square_value(key, v, up);
  if (load(key + v + up + 1) == value) return v + up + 1;
  if (load(key + v + up) == value) return v + up;
  return load(key + v + 1) == value ? v + 1 : v;
}
template <>
__device__ inline int birth_position<false>(const Block&, int, uint32_t pair) {
  return dead_of(pair);
}
template <>
__device__ inline int birth_position<true>(const Block& b, int i, uint32_t pair) {
  return position_of_edge(b.key(i), edge_of_pair(pair), b.up());
}
template <>
__device__ inline int death_position<false>(const Block& b, int i, uint32_t pair) {
  return position_of_edge(b.key(i), edge_of_pair(pair), b.up());
}
template <>
__device__ inline int death_position<true>(const Block& b, int i, uint32_t pair) {
  return position_of_square(b.key(i), dead_of(pair), b.up());
}

class CropLoss {
 public:
  __device__ CropLoss(const Block& b, double share)
      : b_(b), task_(b.task), share_(share), gradient_(b.at<double>(b.task.layout.parent)) {
    costs_ = task_.costs;
    costs_.superlevel = b.superlevel;
  }

  __device__ double sum() {
    for (int k = 0; k < task_.axes; ++k) {
      if (k == 0 && task_.wants[0])
        add_degree<false>(0);
      else if (k == 1 && b_.crop().rank == 2 && task_.wants[1])
        add_degree<true>(1);
      else
        for (int list = 0; list < 3; ++list) set_count(k, list, 0);
    }
    return share_ * warp_sum(partial_);
  }

 private:
  struct Bar {
    int birth = -1, death = -1;  // voxels
  };

  // Of input i at a voxel, or in its padding.
  __device__ double at(int i, int voxel) const {
    if (voxel >= 0) return task_.input[i][b_.item * task_.crop.voxels() + voxel];
    return task_.padding == 2 ? value_of(load(&b_.head().least[i]), b_.superlevel) : task_.pad;
  }
  template <bool kDual>
  __device__ Bar bar(int i, uint32_t pair) const {
    return {voxel_at(b_.crop(), birth_position<kDual>(b_, i, pair)),
            voxel_at(b_.crop(), death_position<kDual>(b_, i, pair))};
  }

  // After this the list may be moved.
  __device__ void end_list(int entries) {
    listed_ += entries;
    sync_warp();  // every lane has read its pairs
  }

  // Moves what is kept of a list of n to its front, in its order; gives how many.
  template <bool kDual, class Keep>
  __device__ int compact(int i, int n, Keep keep) {
    int kept = 0;
    for (int first = 0; first < n; first += kWarp) {
      const int q = first + lane_index();
      const uint32_t pair = q < n ? load(pair_place<kDual>(b_, i, q)) : 0;
      const uint32_t all = ballot(q < n && keep(pair)), own = uint32_t{1} << lane_index();
      sync_warp();  // every lane has its pair before others are put in its place
      if (all & own) store(pair_place<kDual>(b_, i, kept + count_bits(all & (own - 1))), pair);
      kept += count_bits(all);
      sync_warp();  // the next stores go over these lanes' places
    }
    return kept;
  }

  __device__ void set_count(int k, int list, int n) {
    if (lane_index() == 0 && task_.counts)
      store(task_.counts + (b_.item * task_.axes + k) * 3 + list, n);
  }

  template <bool kDual>
  __device__ void add_degree(int k) {
    const auto size = [&](int i) { return static_cast<int>(load(&b_.head().pairs[kDual][i])); };
    const bool has_essential = k == 0 && task_.essential;
    const int matched =
        compact<kDual>(2, size(2), [](uint32_t pair) { return (pair & kMatched) != 0; });
    add_matches<kDual>(matched, has_essential);
    set_count(k, 0, matched + has_essential);
    for (int i = 0; i < 2; ++i) {
      const int alone = compact<kDual>(i, size(i), [&](uint32_t pair) {
        if (pair & kMatched) return false;
        if (i == 1 || !(task_.min_length > 0)) return true;
        const Bar own = bar<kDual>(0, pair);
        return !(fabs(at(0, own.birth) - at(0, own.death)) <= task_.min_length);
      });
      add_rest<kDual>(i, alone);
      set_count(k, 1 + i, alone);
    }
  }

  template <bool kDual>
  __device__ void add_matches(int n, bool has_essential) {
    const int all = n + has_essential;
    for (int first = 0; first < all; first += kWarp) {
      const int q = first + lane_index();
      Effect effect;
      Bar bars[2];
      if (q < n) {
        const uint32_t found = load(pair_place<kDual>(b_, 2, q));
        const int pair[2] = {static_cast<int>(found & 0x1fff),
                             static_cast<int>(found >> 13 & 0x1fff)};
        for (int i = 0; i < 2; ++i)
          bars[i] = bar<kDual>(i, load(pair_place<kDual>(b_, i, pair[i])));
      } else if (q < all) {
        for (int i = 0; i < 2; ++i)
          bars[i].birth = voxel_at(b_.crop(), static_cast<int>(load(&b_.head().oldest[i])));
      }
      if (q < all) {
        effect =
            of_match(costs_, at(0, bars[0].birth), at(1, bars[1].birth),
                     q < n ? at(0, bars[0].death) : 0, q < n ? at(1, bars[1].death) : 0, q >= n);
        const int pairs[] = {bars[0].birth, bars[0].death, bars[1].birth, bars[1].death};
        list(4 * q, pairs);
      }
      partial_ += effect.loss;
      add_slopes(q < all, bars[0], effect);
    }
    end_list(4 * all);
  }

  template <bool kDual>
  __device__ void add_rest(int i, int n) {
    for (int first = 0; first < n; first += kWarp) {
      const int q = first + lane_index();
      Effect effect;
      Bar own;
      if (q < n) {
        own = bar<kDual>(i, load(pair_place<kDual>(b_, i, q)));
        effect = of_rest(costs_, i, at(i, own.birth), at(i, own.death));
        const int pair[] = {own.birth, own.death};
        list(2 * q, pair);
      }
      partial_ += effect.loss;
      if (i == 0) add_slopes(q < n, own, effect);
    }
    end_list(2 * n);
  }

  template <int N>
  __device__ void list(int from, const int (&voxels)[N]) {
    if (!task_.pairs) return;
    for (int j = 0; j < N; ++j)
      if (listed_ + from + j < task_.capacity)
        store(task_.pairs + b_.item * task_.capacity + listed_ + from + j, voxels[j]);
  }

  __device__ void add_slopes(bool valid, const Bar& own, const Effect& effect) {
    if (!task_.grad) return;
    add_slope(valid ? own.birth : -1, share_ * effect.birth);
    add_slope(valid ? own.death : -1, share_ * effect.death);
  }

  // In the order of the lanes.
  __device__ void add_slope(int voxel, double slope) {
    uint32_t same = ~uint32_t{0};
    for (int bit = 0; bit < 13; ++bit) {
      const bool is_set = (voxel >> bit & 1) != 0;
      const uint32_t set = ballot(is_set);
      same &= is_set ? set : ~set;
    }
    const uint32_t before = same & ((uint32_t{1} << lane_index()) - 1);
    bool waits = voxel >= 0;
    for (;;) {
      const uint32_t waiting = ballot(waits);
      if (waiting == 0) return;
      if (waits && (before & waiting) == 0) {
        const double sum = load(gradient_ + voxel);
        const bool wide = task_.grad.dtype == DType::f64;
        store(gradient_ + voxel,
              wide ? sum + slope : static_cast<float>(sum) + static_cast<float>(slope));
        waits = false;
      }
      sync_warp();  // whoever is next at the voxel reads the sum
    }
  }

  const Block& b_;
  const CropTask& task_;
  Costs costs_;
  const double share_;
  double* gradient_;
  double partial_ = 0;
  int64_t listed_ = 0;
};

}  // namespace surprisal::betti_matching
