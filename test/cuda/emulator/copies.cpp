// mbarriers, bulk copies, cp.async: a ring that is right, and all the ways of getting it wrong.
#include "harness.h"

namespace surprisal::cuda::test {
namespace {

enum class Bug {
  none,
  arrivals,        // the barrier expects one too few
  init_fence,      // barriers not made visible to the copy engine
  init_sync,       // ... nor to the other threads
  no_empty_wait,   // a stage is filled while it is read
  producer_phase,  //
  bytes,           // half of the bytes expected
  no_full_wait,    // a stage is read before it is there
  consumer_phase,  //
  early_release,   // a stage is given back before it is read
  no_read_wait,    // the output is overwritten while it is stored
  no_fence,        // the copy engine may not see what was written
  no_sync,         // stored before all have written
  no_last_wait,    // the block ends while its output is stored
};

struct Ring {
  const float* x;
  float* y;
  int tiles;
  Bug bug;
};
constexpr int kTile = 256, kReaders = 64;
struct Memory {
  alignas(128) float in[2][kTile];
  alignas(128) float out[2][kTile];
  Barrier full[2], empty[2];
};

__device__ void fill_stages(Memory& s, const Ring& p) {
  for (int i = 0; i < p.tiles; i++) {
    const int q = i % 2;
    const uint32_t phase = i / 2 % 2 ^ (p.bug != Bug::producer_phase);
    if (p.bug != Bug::no_empty_wait) barrier_wait(&s.empty[q], phase);
    barrier_expect(&s.full[q], kTile * (p.bug == Bug::bytes ? 2 : 4));
    bulk_load(s.in[q], p.x + i * kTile, kTile * 4, &s.full[q]);
  }
}

__device__ void use_stages(Memory& s, const Ring& p) {
  const int t = thread_index();
  for (int i = 0; i < p.tiles; i++) {
    const int q = i % 2;
    const uint32_t phase = i / 2 % 2 ^ (p.bug == Bug::consumer_phase);
    if (p.bug != Bug::no_full_wait) barrier_wait(&s.full[q], phase);
    if (p.bug == Bug::early_release) barrier_arrive(&s.empty[q]);
    float v[4];
    for (int e = 0; e < 4; e++) v[e] = load(&s.in[q][t + kReaders * e]);
    if (p.bug != Bug::early_release) barrier_arrive(&s.empty[q]);
    if (t == 0 && p.bug != Bug::no_read_wait) bulk_wait_read<1>();
    sync_group(1, kReaders);
    for (int e = 0; e < 4; e++) store(&s.out[q][t + kReaders * e], v[e] + 1);
    if (p.bug != Bug::no_fence) fence_async();
    if (p.bug != Bug::no_sync) sync_group(1, kReaders);
    if (t == 0) {
      bulk_store(p.y + i * kTile, s.out[q], kTile * 4);
      bulk_commit();
    }
  }
  if (t == 0 && p.bug != Bug::no_last_wait) bulk_wait_read<0>();
}

__global__ void ring_kernel(Ring p) {
  Memory& s = shared<Memory>();
  if (thread_index() == 0) {
    for (int q = 0; q < 2; q++) {
      barrier_init(&s.full[q], 1);
      barrier_init(&s.empty[q], kReaders - (p.bug == Bug::arrivals));
    }
    if (p.bug != Bug::init_fence) barrier_init_fence();
  }
  if (p.bug != Bug::init_sync) sync_threads();
  if (thread_index() < kReaders) use_stages(s, p);
  if (thread_index() == kReaders) fill_stages(s, p);
}

TEST(ring_of_bulk_copies) {
  constexpr int kTiles = 9;
  std::vector<float> values(kTiles * kTile);
  for (size_t i = 0; i < values.size(); i++) values[i] = static_cast<float>(i % 1000);
  const Array<float> x(values), y(kTiles * kTile);
  const Shape shape{1, 128, sizeof(Memory)};
  const auto ring = [&](Bug bug) { return Ring{x.data(), y.data(), kTiles, bug}; };
  const auto right = [&] {
    for (size_t i = 0; i < values.size(); i++) {
      if (y[static_cast<int64_t>(i)] != values[i] + 1) return false;
    }
    return true;
  };
  EXPECT_FINE(right, ring_kernel, shape, ring(Bug::none));
  EXPECT_REFUSED("", ring_kernel, shape, ring(Bug::arrivals));
  EXPECT_REFUSED("without a barrier_init_fence", ring_kernel, shape, ring(Bug::init_fence));
  EXPECT_REFUSED("", ring_kernel, shape, ring(Bug::init_sync));
  EXPECT_REFUSED("", ring_kernel, shape, ring(Bug::no_empty_wait));
  EXPECT_REFUSED("deadlock", ring_kernel, shape, ring(Bug::producer_phase));
  EXPECT_REFUSED("", ring_kernel, shape, ring(Bug::bytes));
  EXPECT_REFUSED("", ring_kernel, shape, ring(Bug::no_full_wait));
  EXPECT_REFUSED("", ring_kernel, shape, ring(Bug::consumer_phase));
  EXPECT_REFUSED("", ring_kernel, shape, ring(Bug::early_release));
  EXPECT_REFUSED_SOMETIMES("still reading", ring_kernel, shape, ring(Bug::no_read_wait));
  EXPECT_REFUSED("without a fence_async", ring_kernel, shape, ring(Bug::no_fence));
  EXPECT_REFUSED("", ring_kernel, shape, ring(Bug::no_sync));
  EXPECT_REFUSED_SOMETIMES("the block ends while", ring_kernel, shape, ring(Bug::no_last_wait));
}

__global__ void barrier_kernel(int what) {
  Memory& s = shared<Memory>();
  if (what == 0) barrier_arrive(&s.full[0]);
  barrier_init(&s.full[0], 2);
  if (what == 1) {
    barrier_expect(&s.full[0], 16);
    barrier_arrive(&s.full[0]);
    barrier_arrive(&s.full[0]);
  }
  if (what == 2) store(&s.full[0], uint64_t{0});
  if (what == 3) barrier_expect(&s.full[0], 16);
}
TEST(mbarriers) {
  const Shape shape{1, 1, sizeof(Memory)};
  EXPECT_REFUSED("no mbarrier was initialised", barrier_kernel, shape, 0);
  EXPECT_REFUSED("over-arrival", barrier_kernel, shape, 1);
  EXPECT_REFUSED("which is an mbarrier", barrier_kernel, shape, 2);
  EXPECT_REFUSED("still expects 16 bytes", barrier_kernel, shape, 3);
}

struct Copies {
  const float* x;
  float* y;
  int64_t n;
  int bug;
};
// Each thread copies 16 bytes a step and adds up its neighbour's; two steps in flight.
__global__ void copies_kernel(Copies p) {
  using Four = Pack<float, 4>;
  Four* s = &shared<Four>();
  const int t = thread_index(), threads = block_size();
  const int64_t steps = (p.n + 4 * threads - 1) / (4 * threads);
  const auto fetch = [&](int64_t step) {
    const int64_t at = (step * threads + t) * 4;
    if (step < steps) {
      copy_async16(s + step % 3 * threads + t, p.x + at, p.bug == 3 || at < p.n);
    }
    copy_async_commit();
  };
  float sum = 0;
  fetch(0);
  fetch(1);
  for (int64_t step = 0; step < steps; step++) {
    p.bug == 1 ? copy_async_wait<2>() : copy_async_wait<1>();
    if (p.bug != 2) sync_threads();
    fetch(step + 2);
    const Four v = load(s + step % 3 * threads + (t + 1) % threads);
    sum += v.at[0] + v.at[1] + v.at[2] + v.at[3];
  }
  store(p.y + t, sum);
}
TEST(copies_of_16_bytes) {
  const Array<float> x(std::vector<float>(64 * 4 * 5 - 8, 1.0f)), y(64);
  const auto copies = [&](int bug) { return Copies{x.data(), y.data(), 64 * 4 * 5 - 8, bug}; };
  const Shape shape{1, 64, 3 * 64 * 16};
  EXPECT_FINE([&] { return y[3] == 20 && y[61] == 16 && y[62] == 16; }, copies_kernel, shape,
              copies(0));
  EXPECT_REFUSED("", copies_kernel, shape, copies(1));
  EXPECT_REFUSED("", copies_kernel, shape, copies(2));
  EXPECT_REFUSED("out-of-bounds read of 16 bytes", copies_kernel, shape, copies(3));
}

}  // namespace
}  // namespace surprisal::cuda::test
