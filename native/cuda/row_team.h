// The threads that share a row, and how what each of them gathered becomes one value: lanes of a
// warp by shuffles; the warps of a block, or of a cluster of blocks, by shared memory. Every tree
// is fixed by the team's size, so results are the same bits in every run.
//
// A State is trivially copyable, of whole 4-byte words. merge(State& into, const State& from) must
// give the same bits for (a, b) as for (b, a): use mul_exact and add_exact where the compiler might
// contract. A Row is what the second pass needs: finish() makes it from the merged state, once, and
// every thread of the team gets it.
#pragma once
#include <cstring>

#include "cuda/device.h"

namespace surprisal::cuda {

template <class State, int kWords = sizeof(State) / 4>
struct StateWords {
  static_assert(sizeof(State) % 4 == 0, "whole words");
  uint32_t at[kWords];
};

template <class State>
inline __device__ State shuffle_state(const State& state, int mask) {
  StateWords<State> words;
  std::memcpy(&words, &state, sizeof words);
#pragma unroll
  for (int i = 0; i < int(sizeof(State) / 4); ++i) words.at[i] = shuffle_xor(words.at[i], mask);
  State out;
  std::memcpy(&out, &words, sizeof out);
  return out;
}

template <int Lanes, class State, class Merge>
inline __device__ State merge_lanes(State state, Merge merge) {
#pragma unroll
  for (int mask = Lanes / 2; mask > 0; mask /= 2) merge(state, shuffle_state(state, mask));
  return state;
}

// `Lanes` neighbouring lanes of a warp: 8, 16 or 32.
template <int Lanes>
struct LaneTeam {
  __device__ int index() const { return lane_index() % Lanes; }
  __device__ static constexpr int size() { return Lanes; }
  // All 32 lanes of the warp come here together. finish(state, leader) -> Row runs in every lane;
  // writes belong to the leader.
  template <class State, class Merge, class Finish>
  __device__ auto finish(const State& state, Merge merge, Finish finish) {
    return finish(merge_lanes<Lanes>(state, merge), index() == 0);
  }
};

constexpr int kTeamWarps = 8;  // most warps of a block that is (part of) a team

// What a BlockTeam keeps in shared memory. Two sets of partial states: while another block of the
// cluster still reads one, the next row writes the other.
template <class State, class Row>
struct TeamMemory {
  StateWords<State> partial[2][kTeamWarps];
  alignas(16) Row row;
};

// A block, or the `blocks` blocks of a cluster.
template <class State, class Row>
class BlockTeam {
 public:
  __device__ BlockTeam(TeamMemory<State, Row>* memory, int blocks)
      : memory_(memory), blocks_(blocks) {}

  __device__ int index() const { return thread_index(); }
  __device__ int size() const { return block_size(); }
  __device__ int rank() const {
#if defined(SP_CLUSTERS)
    if (blocks_ > 1) return cluster_rank();
#endif
    return 0;
  }

  // finish(state, leader) -> Row runs in one warp of every block; what its lane 0 makes counts. All
  // threads come here together.
  template <class Merge, class Finish>
  __device__ Row finish(State state, Merge merge, Finish finish) {
    const int warps = block_size() / kWarp;
    state = merge_lanes<kWarp>(state, merge);
    if (lane_index() == 0) write(memory_->partial[turn_][warp_index()], state);
    sync();  // partial states are written, in all blocks
    if (warp_index() == 0) {
      // Lane i merges partial states i, i + 32, ..., then the lanes merge.
      const int count = warps * blocks_;
      int i = lane_index();
      State mine = read(i < count ? i : 0, warps);
      const bool any = i < count;
      for (i += kWarp; i < count; i += kWarp) merge(mine, read(i, warps));
      int lanes = 1;
      while (lanes < count && lanes < kWarp) lanes *= 2;
      for (int mask = 1; mask < lanes; mask *= 2) {
        const State other = shuffle_state(mine, mask);
        const bool both = any && (lane_index() ^ mask) < count;
        if (both) merge(mine, other);
      }
      // Lane 0 has merged all; the others may lack some where `count` is no power of two.
      const Row row = finish(mine, rank() == 0 && lane_index() == 0);
      if (lane_index() == 0) store(&memory_->row, row);
    }
    sync_threads();  // the row's values are written
    if (blocks_ > 1) turn_ ^= 1;
    return load(&memory_->row);
  }

  // Before the block ends: no other block may still be reading its memory.
  __device__ void close() {
#if defined(SP_CLUSTERS)
    if (blocks_ > 1) sync_cluster();
#endif
  }

 private:
  using Words = StateWords<State>;
  static constexpr int kWords = sizeof(State) / 4;

  __device__ void sync() {
#if defined(SP_CLUSTERS)
    if (blocks_ > 1) return sync_cluster();
#endif
    sync_threads();
  }
  __device__ static void write(Words& to, const State& state) {
    Words words;
    std::memcpy(&words, &state, sizeof words);
#pragma unroll
    for (int w = 0; w < kWords; ++w) store(&to.at[w], words.at[w]);
  }
  // Partial state i of the cluster: blocks in their order, in each its warps.
  __device__ State read(int i, int warps) const {
    const Words& from = memory_->partial[turn_][i % warps];
    Words words;
#pragma unroll
    for (int w = 0; w < kWords; ++w) words.at[w] = read_word(&from.at[w], i / warps);
    State out;
    std::memcpy(&out, &words, sizeof out);
    return out;
  }
  __device__ uint32_t read_word(const uint32_t* p, int rank) const {
#if defined(SP_CLUSTERS)
    if (blocks_ > 1) return load_from_block(p, rank);
#endif
    (void)rank;
    return load(p);
  }

  TeamMemory<State, Row>* memory_;
  int blocks_;
  int turn_ = 0;
};

}  // namespace surprisal::cuda
