// Backward of a normalisation in one pass: dx, and the sums over a chunk of rows of g h and g that
// the weight gradients are made of. Each thread keeps kFused columns for all rows of the chunk, so
// that x and g are read once: 3 N D elements move instead of 5 N D. Asks for rows of whole slots of
// 16 bytes and at most kThreads kFused elements (plan.h); a matrix that does not begin on 16 bytes
// has every row so, and is shifted out of two slots. The next row is under way while the sums of
// this one are found: 32 KB an SM in flight at all times (2 blocks for 16-bit dtypes, 1 of
// twice the bytes for float32, by its registers).
#pragma once
#include "cuda/row_team.h"
#include "cuda/rows.h"
#include "ops/norm/plan.h"

namespace surprisal::norm {

using namespace ::surprisal::cuda;

template <class T>
struct FusedBackward {
  const T *x, *g, *weight;  // weight null: none
  const float *mean, *r;    // mean null: rms
  T* dx;
  int64_t rows, columns;
  int64_t chunk;           // rows of a block
  int team;                // threads a row, a power of two, a warp at least
  bool aligned;            // all matrices begin on 16 bytes
  float *dweight, *dbias;  // (chunks, columns), null: not wanted
};

// The warps' shares of two rows' sums: while some still read one row's, others write the next
// one's.
struct FusedSums {
  double along[2][kThreads / kWarp], level[2][kThreads / kWarp];
};

// Slot `slot` of an array of `size` elements.
template <bool Once, class T>
inline __device__ Slot fused_slot(const T* from, int64_t size, int64_t slot, bool aligned) {
  const auto* slots = reinterpret_cast<const Slot*>(from);
  if (aligned) return Once ? load_once(slots + slot) : load(slots + slot);
  return load_anywhere(from, size, slot * kPack<T>);
}

template <class T>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 2 : 1)
    norm_fused_kernel(const FusedBackward<T> op) {
  constexpr int E = kPack<T>, S = kFused / E;
  const int team = thread_index() / op.team, rank = thread_index() & (op.team - 1);
  const int teams = kThreads / op.team, warps = op.team / kWarp;
  const int slots = static_cast<int>(op.columns / E);
  const int64_t first = block_index() * op.chunk;
  const int count = static_cast<int>(first + op.chunk < op.rows ? op.chunk : op.rows - first);
  FusedSums& sums = shared<FusedSums>();
  // `at`: this thread's first slot of the row `row` of the chunk.
  const auto read = [&](const T* from, int64_t at, int row, Slot(&to)[S]) {
#pragma unroll
    for (int k = 0; k < S; ++k)
      if (row < count && rank + k * op.team < slots)
        to[k] = fused_slot<true>(from, op.rows * op.columns, at + k * op.team, op.aligned);
  };
  const auto weighed = [&](int slot, const float(&g)[E], float(&q)[E]) {
    float w[E];
    if (op.weight) widen<T>(fused_slot<false>(op.weight, op.columns, slot, op.aligned), w);
#pragma unroll
    for (int e = 0; e < E; ++e) q[e] = op.weight ? g[e] * w[e] : g[e];
  };
  float dw[S][E] = {}, db[S][E] = {};
  Slot x[S] = {}, g[S] = {};
  int64_t at = (first + team) * slots + rank;
  read(op.x, at, team, x);
  read(op.g, at, team, g);
  int turn = 0;
  for (int row = team; row - team < count; row += teams, turn ^= 1) {
    const bool is = row < count;
    Slot next_x[S] = {}, next_g[S] = {};
    read(op.x, at + teams * slots, row + teams, next_x);
    read(op.g, at + teams * slots, row + teams, next_g);
    const float mean = is && op.mean ? load(op.mean + first + row) : 0;
    const float r = is ? load(op.r + first + row) : 0;
    double along = 0, level = 0;
#pragma unroll
    for (int k = 0; k < S; ++k) {
      const int slot = rank + k * op.team;
      if (!is || slot >= slots) continue;
      float h[E], q[E];
      widen<T>(g[k], h);
      weighed(slot, h, q);
      widen<T>(x[k], h);
      float a = 0, b = 0;
#pragma unroll
      for (int e = 0; e < E; ++e) {
        a += q[e] * ((h[e] - mean) * r);
        b += q[e];
      }
      along += a;
      level += b;
    }
    along = warp_sum(along);
    level = warp_sum(level);
    if (lane_index() == 0) {
      store(&sums.along[turn][warp_index()], along);
      store(&sums.level[turn][warp_index()], level);
    }
    sync_threads();  // the warps' sums are there; those of the row before have been read
    along = level = 0;
    for (int w = team * warps; w < (team + 1) * warps; ++w) {
      along += load(&sums.along[turn][w]);
      level += load(&sums.level[turn][w]);
    }
    const float mean_along = static_cast<float>(along / static_cast<double>(op.columns));
    const float mean_level =
        op.mean ? static_cast<float>(level / static_cast<double>(op.columns)) : 0;
#pragma unroll
    for (int k = 0; k < S; ++k) {
      const int slot = rank + k * op.team;
      if (is && slot < slots) {
        float h[E], raw[E], q[E];
        widen<T>(x[k], h);
        widen<T>(g[k], raw);
        weighed(slot, raw, q);
#pragma unroll
        for (int e = 0; e < E; ++e) {
          h[e] = (h[e] - mean) * r;
          dw[k][e] += raw[e] * h[e];
          db[k][e] += raw[e];
          q[e] = (q[e] - mean_level - h[e] * mean_along) * r;
        }
        const int64_t to = at + k * op.team;
        if (op.aligned) {
          store_once(reinterpret_cast<Slot*>(op.dx) + to, narrow<T>(q));
        } else {
#pragma unroll
          for (int e = 0; e < E; ++e) store(op.dx + to * E + e, narrowed<T>(q[e]));
        }
      }
      x[k] = next_x[k];
      g[k] = next_g[k];
    }
    at += teams * slots;
  }
  // The teams' sums, in their order, through shared memory: (teams, columns).
  float* all = reinterpret_cast<float*>(&sums + 1);
  const auto finish = [&](const float(&sum)[S][E], float* out) {
    if (!out) return;
    sync_threads();  // what was there has been read
#pragma unroll
    for (int k = 0; k < S; ++k) {
      const int slot = rank + k * op.team;
      if (slot >= slots) continue;
#pragma unroll
      for (int e = 0; e < E; ++e) store(all + team * op.columns + slot * E + e, sum[k][e]);
    }
    sync_threads();  // the teams' sums are there
    for (int c = thread_index(); c < op.columns; c += kThreads) {
      float total = 0;
      for (int t = 0; t < teams; ++t) total += load(all + t * op.columns + c);
      store(out + block_index() * op.columns + c, total);
    }
  };
  finish(dw, op.dweight);
  finish(db, op.dbias);
}

}  // namespace surprisal::norm
