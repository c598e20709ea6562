// Places, barriers, lanes, atomics, clusters.
#include <thread>

#include "harness.h"

namespace surprisal::cuda::test {
namespace {

struct Out {
  int* out;
  int n;
};

__global__ void places_kernel(Out p) {
  const int64_t i = block_index() * block_size() + thread_index();
  store(p.out + i, static_cast<int>(grid_size() * 100000 + warp_index() * 1000 + lane_index()));
}
TEST(places) {
  Array<int> out(3 * 96);
  EXPECT_FINE([&] { return out[96 + 70] == 3 * 100000 + 2 * 1000 + 6; }, places_kernel, {3, 96},
              Out{out.data(), 0});
}

__global__ void lanes_kernel(Out p) {
  const int l = lane_index();
  const int64_t wide = int64_t{l} << 40;
  int ok = shuffle_xor(l, 5) == (l ^ 5);
  ok &= shuffle(wide, 7) == int64_t{7} << 40;
  ok &= shuffle_down(l, 3) == (l + 3 < 32 ? l + 3 : l);
  ok &= shuffle_up(l, 3) == (l >= 3 ? l - 3 : l);
  ok &= shuffle(l, 33) == 1;
  ok &= ballot(l % 3 == 0) == 0x49249249u;
  ok &= any_lane(l == 31) && !any_lane(false);
  ok &= warp_sum(l) == 496 && warp_max(-l) == 0;
  store(p.out + thread_index(), ok);
}
TEST(lanes) {
  Array<int> out(64);
  EXPECT_FINE([&] { return out[0] && out[31] && out[63]; }, lanes_kernel, {1, 64},
              Out{out.data(), 0});
}

__global__ void reverse_kernel(Out p) {
  int* s = &shared<int>();
  store(s + thread_index(), thread_index());
  if (p.n != 1) sync_threads();
  store(p.out + thread_index(), load(s + block_size() - 1 - thread_index()));
}
TEST(barrier_of_a_block) {
  Array<int> out(128);
  EXPECT_FINE([&] { return out[3] == 124; }, reverse_kernel, {1, 128, 512}, Out{out.data(), 0});
  EXPECT_REFUSED("uninitialised read", reverse_kernel, {1, 128, 512}, Out{out.data(), 1});
}

// The second round overwrites what the first still reads: only the middle barrier can tell.
__global__ void rounds_kernel(Out p) {
  int* s = &shared<int>();
  int sum = 0;
  for (int round = 0; round < 2; round++) {
    store(s + thread_index(), round);
    sync_threads();
    sum += load(s + (thread_index() + 33) % block_size());
    if (p.n == 0) sync_threads();
    if (p.n == 1) sync_warp();
  }
  store(p.out + thread_index(), sum);
}
TEST(race_in_shared_memory) {
  Array<int> out(128);
  EXPECT_FINE([&] { return out[3] == 1; }, rounds_kernel, {1, 128, 512}, Out{out.data(), 0});
  EXPECT_REFUSED("race: ", rounds_kernel, {1, 128, 512}, Out{out.data(), 1});
  EXPECT_REFUSED("race: ", rounds_kernel, {1, 128, 512}, Out{out.data(), 2});
}

__global__ void neighbours_kernel(Out p) {
  int* s = &shared<int>();
  store(s + thread_index(), thread_index());
  if (p.n == 0) sync_warp();
  if (p.n == 1) shuffle_xor(0, 1);  // orders no memory
  store(p.out + thread_index(), load(s + (thread_index() ^ 1)));
}
TEST(barrier_of_a_warp) {
  Array<int> out(32);
  EXPECT_FINE([&] { return out[6] == 7; }, neighbours_kernel, {1, 32, 128}, Out{out.data(), 0});
  EXPECT_REFUSED("race: ", neighbours_kernel, {1, 32, 128}, Out{out.data(), 1});
}

__global__ void group_kernel(Out p) {
  int* s = &shared<int>();
  const int group = thread_index() / 64, t = thread_index() % 64;
  store(s + thread_index(), thread_index());
  if (p.n == 0) sync_group(1 + group, 64);
  if (p.n == 1 && t < 32) sync_group(1 + group, 64);
  if (p.n == 2) sync_group(1 + group, t < 32 ? 64 : 32);
  store(p.out + thread_index(), load(s + group * 64 + 63 - t));
}
TEST(barrier_of_a_group) {
  Array<int> out(128);
  EXPECT_FINE([&] { return out[64] == 127; }, group_kernel, {1, 128, 512}, Out{out.data(), 0});
  EXPECT_REFUSED("", group_kernel, {1, 128, 512}, Out{out.data(), 1});
  EXPECT_REFUSED("sync_group: barrier", group_kernel, {1, 64, 512}, Out{out.data(), 2});
}

__global__ void divergent_kernel(Out p) {
  if (p.n == 0) {
    if (thread_index() < 32) sync_threads();
  } else if (p.n == 1) {
    if (thread_index() < 32) {
      sync_threads();
    } else {
      sync_threads();
    }
  } else if (p.n == 2) {
    if (lane_index() < 5) sync_warp();
  } else if (p.n == 3) {
    lane_index() < 5 ? static_cast<void>(ballot(true)) : sync_warp();
  } else if (p.n == 4) {
    if (thread_index() < 32) sync_group(3, 64);
  } else {
    uint32_t* lock = reinterpret_cast<uint32_t*>(&shared<int>());
    if (thread_index() == 0) store(lock, 1u);
    sync_threads();
    lock_acquire(lock);
  }
}
TEST(divergence_and_deadlock) {
  const Shape shape{2, 64, 64};
  EXPECT_REFUSED("divergent barrier", divergent_kernel, shape, Out{nullptr, 0});
  EXPECT_REFUSED("divergent barrier", divergent_kernel, shape, Out{nullptr, 1});
  EXPECT_REFUSED("divergent warp", divergent_kernel, shape, Out{nullptr, 2});
  EXPECT_REFUSED("divergent warp", divergent_kernel, shape, Out{nullptr, 3});
  EXPECT_REFUSED("deadlock: ", divergent_kernel, shape, Out{nullptr, 4});
  EXPECT_REFUSED("deadlock: ", divergent_kernel, shape, Out{nullptr, 5});
  const Array<int> out(64);
  EXPECT_REFUSED("divergent warp", lanes_kernel, {1, 40}, Out{out.data(), 0});
}

struct Ticket {
  float* partials;
  float* sum;
  uint32_t* count;
  bool fenced;
};
// The last block adds up what all wrote.
__global__ void ticket_kernel(Ticket p) {
  uint32_t& last = shared<uint32_t>();
  store(p.partials + block_index() * block_size() + thread_index(), 1.0f);
  if (p.fenced) fence_device();
  sync_threads();
  if (thread_index() == 0) store(&last, atomic_add(p.count, 1u));
  sync_threads();
  if (load(&last) != grid_size() - 1 || thread_index() != 0) return;
  float sum = 0;
  for (int64_t i = 0; i < grid_size() * block_size(); i++) sum += load(p.partials + i);
  store(p.sum, sum);
}
TEST(last_block) {
  for (const bool fenced : {true, false}) {
    for (uint64_t seed = 0; seed < kSeeds; seed++) {
      Array<float> partials(8 * 64), sum(1);
      Array<uint32_t> count(std::vector<uint32_t>{0});
      const auto said = run(seed, ticket_kernel, {8, 64, 4},
                            Ticket{partials.data(), sum.data(), count.data(), fenced});
      EXPECT(fenced ? said.empty() && sum[0] == 512 : said.find("race: ") != std::string::npos);
    }
  }
}

struct Counters {
  uint32_t* words;
  uint64_t* wide;
};
__global__ void atomics_kernel(Counters p) {
  const auto i = static_cast<uint32_t>(block_index() * block_size() + thread_index());
  atomic_add(p.words, 1u);
  atomic_or(p.words + 1, 1u << i % 32);
  atomic_add(p.wide, uint64_t{1} << 33);
  atomic_min(p.wide + 1, uint64_t{1000} - i);
}
TEST(atomics) {
  Array<uint32_t> words(std::vector<uint32_t>{0, 0});
  Array<uint64_t> wide(std::vector<uint64_t>{0, ~uint64_t{0}});
  EXPECT(run(3, atomics_kernel, {4, 64}, Counters{words.data(), wide.data()}).empty());
  EXPECT(words[0] == 256 && words[1] == ~0u && wide[0] == uint64_t{256} << 33 && wide[1] == 745);
}

__global__ void faults_kernel(FaultSite site) {
  const int64_t row = block_index() * block_size() + thread_index();
  if (row >= 37) report_fault(site, row, 5, 6, 7);
}
TEST(faults) {
  for (uint64_t seed = 0; seed < kSeeds; seed++) {
    Fault fault{};
    EXPECT(run(seed, faults_kernel, {4, 64}, FaultSite{&fault, 1, 2}).empty());
    EXPECT(fault.row == 37 && fault.value == 5 && fault.sequence == 2);
  }
}

__global__ void cluster_kernel(Out p) {
  int* s = &shared<int>();
  if (thread_index() == 0) store(s, static_cast<int>(block_index()));
  if (p.n != 1) sync_cluster();
  int sum = 0;
  for (int r = 0; r < cluster_size(); r++) sum = sum * 10 + load_from_block(s, r);
  if (p.n != 2) sync_cluster();  // nobody reads from a block that has ended
  if (thread_index() == 0) store(p.out + block_index(), sum * 10 + cluster_rank());
}
TEST(clusters) {
  Array<int> out(6);
  EXPECT_FINE([&] { return out[0] == 120 && out[5] == 3452; }, cluster_kernel, {6, 64, 16, 3},
              Out{out.data(), 0});
  EXPECT_REFUSED("", cluster_kernel, {6, 64, 16, 3}, Out{out.data(), 1});
  EXPECT_REFUSED_SOMETIMES("which has ended", cluster_kernel, {6, 64, 16, 3}, Out{out.data(), 2});
}

// Launches of several host threads do not meet.
TEST(host_threads) {
  std::vector<std::thread> hosts;
  int wrong[4] = {};
  for (int h = 0; h < 4; h++) {
    hosts.emplace_back([h, &wrong] {
      Array<int> out(128);
      for (uint64_t seed = 0; seed < 50; seed++) {
        wrong[h] += !run(seed, reverse_kernel, {1, 128, 512}, Out{out.data(), 0}).empty();
        wrong[h] += out[3] != 124;
      }
    });
  }
  for (std::thread& host : hosts) host.join();
  EXPECT(wrong[0] + wrong[1] + wrong[2] + wrong[3] == 0);
}

TEST(arithmetic) {
  EXPECT(std::abs(exp2_fast(1.5f) / std::exp2(1.5f) - 1) < 3e-7f && exp2_fast(-140.0f) == 0);
  EXPECT(mul_exact(3.0f, 4.0f) == 12 && add_exact(3.0f, 4.0f) == 7);
}

}  // namespace
}  // namespace surprisal::cuda::test
