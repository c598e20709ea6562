// Coordinates of every line in order, equal ones by their places. A tile is sorted in shared memory
// by Batcher's bitonic network; tiles by merging neighbours, each thread a few places of the result
// that it finds by bisection (merge path; Odeh et al. 2012).
#pragma once
#include "ops/emd1d/device.h"

namespace surprisal::emd1d {

// A coordinate's key and its place; no two are equal.
template <class A>
struct Item;
template <>
struct Item<float> {
  uint64_t key;

  static __device__ Item of(float x, int64_t place) {
    return {uint64_t{key_of(x)} << 32 | static_cast<uint32_t>(place)};
  }
  static __device__ Item last() { return {~uint64_t{0}}; }
  __device__ int32_t place() const { return static_cast<int32_t>(key & 0x7fffffff); }
  __device__ bool operator<(const Item& b) const { return key < b.key; }
};
template <>
struct alignas(16) Item<double> {
  uint64_t key, index;

  static __device__ Item of(double x, int64_t place) {
    return {key_of(x), static_cast<uint64_t>(place)};
  }
  static __device__ Item last() { return {~uint64_t{0}, ~uint64_t{0}}; }
  __device__ int32_t place() const { return static_cast<int32_t>(index); }
  __device__ bool operator<(const Item& b) const {
    return key < b.key || (key == b.key && index < b.index);
  }
};

template <class A>
struct SortWork {
  const A* along = nullptr;  // (lines, n)
  A* at = nullptr;           // (lines, n) and so is what follows
  int32_t* order = nullptr;
  Item<A>*from = nullptr, *to = nullptr;  // absent where a tile is all
  int64_t n = 0, lines = 0, width = 0;
  Sort plan;
};

template <class A>
__device__ inline void put_in_order(const SortWork<A>& w, int64_t line, int64_t k,
                                    const Item<A>& item) {
  const int32_t i = item.place();
  cuda::store(w.order + line * w.n + k, i);
  cuda::store(w.at + line * w.n + k, cuda::load(w.along + line * w.n + i));
}

template <class A>
__global__ void __launch_bounds__(512)
    emd1d_sort_tile_kernel(const __grid_constant__ SortWork<A> w) {
  Item<A>* items = &cuda::shared<Item<A>>();
  const int64_t line = cuda::block_index() / w.plan.tiles;
  const int64_t first = cuda::block_index() % w.plan.tiles * kTile;
  const int64_t left = w.n - first;
  const int count = static_cast<int>(left < kTile ? left : kTile);
  const int room = static_cast<int>(w.plan.room), threads = cuda::block_size();
  for (int k = cuda::thread_index(); k < room; k += threads) {
    Item<A> item = Item<A>::last();
    if (k < count) item = Item<A>::of(cuda::load(w.along + line * w.n + first + k), first + k);
    cuda::store(items + k, item);
  }
  for (int size = 2; size <= room; size *= 2) {
    for (int apart = size / 2; apart > 0; apart /= 2) {
      cuda::sync_threads();  // the step before, or the items, are there
      for (int k = cuda::thread_index(); k < room / 2; k += threads) {
        const int i = 2 * k - (k & (apart - 1));
        const Item<A> a = cuda::load(items + i), b = cuda::load(items + i + apart);
        if ((b < a) != ((i & size) == 0)) continue;
        cuda::store(items + i, b);
        cuda::store(items + i + apart, a);
      }
    }
  }
  cuda::sync_threads();  // all are in order
  for (int k = cuda::thread_index(); k < count; k += threads) {
    const Item<A> item = cuda::load(items + k);
    if (w.to) {
      cuda::store(w.to + line * w.n + first + k, item);
    } else {
      put_in_order(w, line, k, item);
    }
  }
}

// Runs of `width` become runs of twice as many; the last time, coordinates in order.
template <class A>
__global__ void __launch_bounds__(kThreads)
    emd1d_merge_kernel(const __grid_constant__ SortWork<A> w) {
  const int64_t runs = (w.n + kMergeRun - 1) / kMergeRun;
  const int64_t own = cuda::block_index() * kThreads + cuda::thread_index();
  if (own >= runs * w.lines) return;
  const int64_t line = own / runs, k = own % runs * kMergeRun;
  const int64_t begin = k / (2 * w.width) * (2 * w.width), place = k - begin;
  const auto at_most = [](int64_t x, int64_t most) { return x < most ? x : most; };
  const int64_t a_count = at_most(w.width, w.n - begin);
  const int64_t b_count = at_most(w.width, w.n - begin - a_count);
  const Item<A>* a = w.from + line * w.n + begin;
  const Item<A>* b = a + a_count;
  int64_t i = place > b_count ? place - b_count : 0, most = at_most(place, a_count);
  while (i < most) {
    const int64_t middle = (i + most) / 2;
    if (cuda::load(a + middle) < cuda::load(b + place - 1 - middle)) {
      i = middle + 1;
    } else {
      most = middle;
    }
  }
  int64_t j = place - i;
  const int64_t end = at_most(place + kMergeRun, a_count + b_count);
  for (int64_t o = place; o < end; ++o) {
    bool of_a = j >= b_count;
    if (!of_a && i < a_count) of_a = cuda::load(a + i) < cuda::load(b + j);
    const Item<A> item = of_a ? cuda::load(a + i++) : cuda::load(b + j++);
    if (w.to) {
      cuda::store(w.to + line * w.n + begin + o, item);
    } else {
      put_in_order(w, line, begin + o, item);
    }
  }
}

}  // namespace surprisal::emd1d
